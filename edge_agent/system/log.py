"""The agent's log: quiet, structured lines for journald, a terminal or a collector; an error once."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from edge_agent.lean_dataclass import dataclass
from edge_agent.system.secret import Secret
from edge_agent.system.text import encodable, printable

ROOT = "edge_agent"
"""The logger that the agent's own loggers hang under; other libraries log only from WARNING up."""

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_SYSLOG_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_SYSLOG_DEBUG = 7
_PLAIN_WORD_BREAKERS = frozenset(' "=\\')
_MESSAGES_PER_KEY = 8


def say(logger: logging.Logger, level: int, message: str, /, **fields: object) -> None:
    """Log `message` with fields: `camera reopened attempts=3`, or members of `fields` in JSON."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", message, extra={"fields": fields}, stacklevel=2)


def say_defect(logger: logging.Logger, message: str, error: Exception) -> None:
    """Log `message`, the kind of an unexpected `error`, and where it was raised.

    The text of the error is left out, since it may repeat what was being read: a password, for instance.
    """
    shown = RuntimeError(f"{kind_of(error)}, whose text is not shown here: it may hold a secret")
    logger.error("%s", message, exc_info=(RuntimeError, shown, error.__traceback__))


def kind_of(error: BaseException) -> str:
    """The name of an error's class, with its module where that is not Python itself: `cv2.error`."""
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def place_of(error: BaseException) -> str:
    """Where in this package an error was raised, or came in from a library: `rtsp.py:52`."""
    raised = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    places = [place for place in raised if place[0].startswith(_PACKAGE)] or raised
    return f"{Path(places[-1][0]).name}:{places[-1][1]}" if places else "an unknown place"


def setup(
    level: str = "info",
    format: str = "auto",
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Send the process's log to `stream` (default: stderr); calling it again replaces that.

    `level` is `debug`, `info`, `warning` or `error`; `format` is `auto`, `plain`, `journal` or `json`.

    Exceptions that nobody caught, in any thread, are logged too.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(_formatter(format, target, environment))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    set_level(level)
    _log_uncaught()


def set_level(level: str) -> None:
    """Change the least important level logged (`debug`, `info`, `warning`, `error`) while running."""
    logging.getLogger(ROOT).setLevel(level.upper())


def under_journald(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """True where systemd connected `stream` to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file behind it, or closed
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class PlainFormatter(logging.Formatter):
    """`2025-01-31 12:00:00 warning mqtt.client: connection lost reason=timeout`, in local time."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        head = f"{when} {record.levelname.lower()} {_short_name(record)}: {_text(record)}"
        return "\n".join([head, *_traceback(record)])


class JournalFormatter(logging.Formatter):
    """Lines that begin with `<N>`, the syslog priority that journald reads; it adds the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_syslog_priority(record.levelno)}>"
        lines = [f"{_short_name(record)}: {_text(record)}", *_traceback(record)]
        return "\n".join(prefix + line for line in lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (UTC), level, logger, message; `fields` and `exception` where there."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, object] = {
            "ts": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": encodable(record.getMessage()),
        }
        if fields := _fields(record):
            entry["fields"] = {name: _json_value(value) for name, value in fields.items()}
        if lines := _traceback(record):
            entry["exception"] = "\n".join(lines)
        return json.dumps(entry)


@dataclass(slots=True)
class _Lasting:
    """An error of one key that `RepeatedError` has seen and that is not over."""

    since_s: float
    summarised_s: float
    messages: set[str] = field(default_factory=set)
    count: int = 0


class RepeatedError:
    """Logs an error that keeps coming once, then only its count, until it is over.

    `key` names the part in trouble ("broker", "camera"). Each different message under it is logged when it
    first comes (at most eight of them, so that a message that varies cannot fill the log). While the trouble
    lasts, one line with the count follows every `summary_s` seconds. Safe to share between threads.
    """

    def __init__(
        self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic, summary_s: float = 3600.0
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._summary_s = summary_s
        self._troubles: dict[str, _Lasting] = {}
        self._lock = threading.Lock()

    def report(self, key: str, message: str, level: int = logging.WARNING, **fields: object) -> bool:
        """Say that `key` failed with `message`; logged when new, or as a summary when one is due.

        Returns whether it was new.
        """
        with self._lock:
            now_s = self._clock()
            trouble = self._troubles.setdefault(key, _Lasting(since_s=now_s, summarised_s=now_s))
            trouble.count += 1
            is_new = message not in trouble.messages and len(trouble.messages) < _MESSAGES_PER_KEY
            is_due = now_s - trouble.summarised_s >= self._summary_s
            if is_new:
                trouble.messages.add(message)
            if is_due:
                trouble.summarised_s = now_s
                fields |= {"failures": trouble.count, "for_s": round(now_s - trouble.since_s)}
        if is_new or is_due:
            say(self._logger, level, message, **fields)
        return is_new

    def recovered(self, key: str, message: str, level: int = logging.INFO, **fields: object) -> None:
        """Say that `key` works (again). Logged, with failures and duration, only after trouble."""
        with self._lock:
            trouble = self._troubles.pop(key, None)
            now_s = self._clock()
        if trouble is not None:
            took = {"failures": trouble.count, "after_s": round(now_s - trouble.since_s)}
            say(self._logger, level, message, **fields, **took)

    def failures(self, key: str) -> int:
        """How often `key` has failed since it last worked."""
        with self._lock:
            trouble = self._troubles.get(key)
            return trouble.count if trouble else 0


def _formatter(kind: str, stream: TextIO, environment: Mapping[str, str]) -> logging.Formatter:
    if kind == "auto":
        kind = "journal" if under_journald(stream, environment) else "plain"
    formatters: dict[str, Callable[[], logging.Formatter]] = {
        "plain": PlainFormatter,
        "journal": JournalFormatter,
        "json": JsonFormatter,
    }
    return formatters[kind]()


def _log_uncaught() -> None:
    logger = logging.getLogger(ROOT)

    def in_main(kind: type[BaseException], error: BaseException, _: object) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            logger.critical("unexpected error", exc_info=error)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "?"
        fields = {"fields": {"thread": name}}
        logger.critical("unexpected error ended a thread", exc_info=args.exc_value, extra=fields)

    sys.excepthook = in_main
    threading.excepthook = in_thread


def _syslog_priority(level: int) -> int:
    return next((number for least, number in _SYSLOG_PRIORITIES if level >= least), _SYSLOG_DEBUG)


def _short_name(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{ROOT}.")


def _text(record: logging.LogRecord) -> str:
    """The message and its fields in one line: text from outside cannot forge a second one."""
    pairs = (f"{name}={_plain_value(value)}" for name, value in _fields(record).items())
    return " ".join([printable(record.getMessage()), *pairs])


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return dict(getattr(record, "fields", {}))


def _traceback(record: logging.LogRecord) -> list[str]:
    """The lines of the traceback. The text of an error may hold line breaks: what follows is indented, so
    that none of its lines can pass for another entry."""
    if not record.exc_info:
        return []
    lines: list[str] = []
    for part in traceback.format_exception(*record.exc_info):
        first, *more = part.splitlines() or [""]
        lines += [first, *(line if line.startswith(" ") else f"  {line}" for line in more)]
    return [printable(line) for line in lines]


def _plain_value(value: object) -> str:
    shown = _json_value(value)
    if isinstance(shown, float):
        return f"{shown:.6g}"
    if isinstance(shown, str) and shown and shown.isprintable() and not _PLAIN_WORD_BREAKERS & set(shown):
        return shown
    return printable(json.dumps(shown, ensure_ascii=False))


def _json_value(value: object) -> str | int | float | bool | None:
    if isinstance(value, Secret):
        return value.shown()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (int, float, bool)):
        return value
    return encodable(str(value))

"""The log's lines as journald, a terminal and a collector get them, and how a repeated error stays quiet."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.system.log import (
    JsonFormatter,
    PlainFormatter,
    RepeatedError,
    say,
    set_level,
    setup,
    under_journald,
)
from edge_agent.system.secret import Secret, SecretUrl

LOGGER = logging.getLogger("edge_agent.mqtt.publisher")
PRIORITIES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    root, agent = logging.getLogger(), logging.getLogger("edge_agent")
    handlers, levels = root.handlers[:], (root.level, agent.level)
    hooks = sys.excepthook, threading.excepthook
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    agent.setLevel(levels[1])
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


class Lines(logging.Handler):
    """Collects messages with their fields."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, dict[str, Any]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.levelname, record.getMessage(), record.__dict__.get("fields", {})))


@pytest.fixture
def lines() -> Lines:
    handler = Lines()
    logging.getLogger().addHandler(handler)
    set_level("debug")
    return handler


def logged(form: Literal["auto", "plain", "journal", "json"], level: Any = "info") -> io.StringIO:
    stream = io.StringIO()
    setup(level, form, stream, environment={})
    return stream


def test_a_plain_line_has_time_level_place_message_and_fields() -> None:
    stream = logged("plain")
    say(LOGGER, logging.WARNING, "connection lost", reason="timeout", attempts=3, waited_s=1.5)
    date, time, rest = stream.getvalue().split(" ", 2)
    assert (date.count("-"), time.count(":")) == (2, 2)
    assert rest == "warning mqtt.publisher: connection lost reason=timeout attempts=3 waited_s=1.5\n"


@pytest.mark.parametrize("level", PRIORITIES)
def test_a_journal_line_begins_with_its_priority_and_has_no_time(level: str) -> None:
    stream = logged("journal", level="debug")
    say(LOGGER, logging.getLevelNamesMapping()[level.upper()], "hello")
    assert stream.getvalue() == f"{PRIORITIES[level]}mqtt.publisher: hello\n"


def test_every_line_of_a_traceback_has_its_priority_in_the_journal() -> None:
    stream = logged("journal")
    try:
        raise OSError("first\nsecond")
    except OSError:
        LOGGER.exception("it failed")
    got = stream.getvalue().splitlines()
    assert got[0] == "<3>mqtt.publisher: it failed"
    assert len(got) > 3
    assert all(line.startswith("<3>") for line in got)


def test_a_json_line_keeps_the_types_of_its_fields() -> None:
    stream = logged("json")
    say(LOGGER, logging.INFO, "ready", label="cat", fps=2.5, frames=3, ok=True, error=None, level="x")
    entry = json.loads(stream.getvalue())
    assert entry.pop("ts").endswith("Z")
    assert entry == {
        "level": "info",
        "logger": "edge_agent.mqtt.publisher",
        "message": "ready",
        "fields": {"label": "cat", "fps": 2.5, "frames": 3, "ok": True, "error": None, "level": "x"},
    }


def test_a_json_line_is_utf_8_whatever_a_file_is_called() -> None:
    stream = logged("json")
    name = os.fsdecode(b"caf\xe9.jpg")
    say(LOGGER, logging.WARNING, f"skipped {name}", picture=name, path=Path(name))
    entry = json.loads(stream.getvalue())
    assert entry["message"].encode() == b"skipped caf\\udce9.jpg"
    assert {value.encode() for value in entry["fields"].values()} == {b"caf\\udce9.jpg"}


def test_a_json_line_carries_the_traceback() -> None:
    stream = logged("json")
    try:
        raise ValueError("broken")
    except ValueError:
        LOGGER.exception("it failed")
    assert json.loads(stream.getvalue())["exception"].endswith("ValueError: broken")


@pytest.mark.parametrize("form", ["plain", "journal", "json"])
def test_a_secret_is_masked_in_every_format(form: Literal["plain", "journal", "json"]) -> None:
    stream = logged(form)
    say(LOGGER, logging.INFO, "connecting", password=Secret("hunter2"))
    assert "hunter2" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_a_masked_address_shows_the_same_as_in_the_configuration() -> None:
    stream = logged("plain")
    say(LOGGER, logging.INFO, "opened", url=SecretUrl("rtsp://me:hunter2@cam:554/1"))
    assert "url=rtsp://***@cam:554/***" in stream.getvalue()


def test_values_that_would_read_as_several_are_quoted() -> None:
    stream = logged("journal")
    say(LOGGER, logging.INFO, "x", a="two words", b='say "hi"', c="k=v", d="", e=Path("/srv/x"))
    assert stream.getvalue() == '<6>mqtt.publisher: x a="two words" b="say \\"hi\\"" c="k=v" d="" e=/srv/x\n'


@given(st.text(), st.text())
def test_text_from_outside_never_makes_a_second_line(message: str, value: str) -> None:
    record = logging.LogRecord("edge_agent.x", logging.INFO, "", 0, "%s", (message,), None)
    record.fields = {"value": value, "number": float("nan")}
    assert len(PlainFormatter().format(record).splitlines()) == 1
    entry = json.loads(JsonFormatter().format(record))
    assert (entry["message"], entry["fields"]["value"]) == (message, value)


def test_the_level_can_be_changed_while_running() -> None:
    stream = logged("journal", level="warning")
    say(LOGGER, logging.INFO, "before")
    set_level("debug")
    say(LOGGER, logging.DEBUG, "after")
    assert stream.getvalue() == "<7>mqtt.publisher: after\n"


def test_other_libraries_are_heard_only_from_warning_up() -> None:
    stream = logged("journal", level="debug")
    other = logging.getLogger("PIL.Image")
    other.debug("chatter")
    other.warning("trouble")
    assert stream.getvalue() == "<4>PIL.Image: trouble\n"


def test_setting_up_again_replaces_the_first_log() -> None:
    first, second = logged("journal"), logged("journal")
    LOGGER.info("once")
    assert (first.getvalue(), second.getvalue()) == ("", "<6>mqtt.publisher: once\n")


def test_a_stream_is_journald_s_when_the_environment_names_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert under_journald(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not under_journald(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not under_journald(stream, {})
    assert not under_journald(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


_PROGRAM = """
import logging, os, sys, threading
from edge_agent.system.log import setup
status = os.fstat(2)
setup(environment={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
thread = threading.Thread(target=lambda: 1 / 0, name="capture")
thread.start()
thread.join()
raise OSError("no such camera")
"""


def test_a_process_under_systemd_logs_what_nobody_caught_with_a_priority() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    got = done.stderr.splitlines()
    assert done.returncode == 1
    assert all(line.startswith("<2>") for line in got)
    assert got[0] == "<2>edge_agent: unexpected error ended a thread thread=capture"
    assert "<2>ZeroDivisionError: division by zero" in got
    assert got[-1] == "<2>OSError: no such camera"


class Ticks:
    """A clock that moves only when the test sets it."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_repeated_error_is_logged_once(lines: Lines) -> None:
    errors = RepeatedError(LOGGER, Ticks())
    for _ in range(100):
        errors.report("broker", "connection refused", host="h")
    assert lines.seen == [("WARNING", "connection refused", {"host": "h"})]
    assert errors.failures("broker") == 100


def test_an_error_that_lasts_is_summarised_with_its_count(lines: Lines) -> None:
    clock = Ticks()
    errors = RepeatedError(LOGGER, clock, summary_s=600)
    for second in range(1801):
        clock.now_s = float(second)
        errors.report("broker", "connection refused")
    assert [fields for _, _, fields in lines.seen] == [
        {},
        {"failures": 601, "for_s": 600},
        {"failures": 1201, "for_s": 1200},
        {"failures": 1801, "for_s": 1800},
    ]


def test_a_recovery_says_what_it_took_and_lets_the_next_error_be_new(lines: Lines) -> None:
    clock = Ticks()
    errors = RepeatedError(LOGGER, clock)
    for _ in range(3):
        errors.report("camera", "no frame")
    clock.now_s = 42.0
    errors.recovered("camera", "camera is back", device="0")
    errors.report("camera", "no frame")
    assert lines.seen == [
        ("WARNING", "no frame", {}),
        ("INFO", "camera is back", {"device": "0", "failures": 3, "after_s": 42}),
        ("WARNING", "no frame", {}),
    ]


def test_a_recovery_without_trouble_is_not_worth_a_line(lines: Lines) -> None:
    errors = RepeatedError(LOGGER, Ticks())
    errors.recovered("camera", "camera is back")
    assert lines.seen == []


def test_errors_that_alternate_are_each_logged_once(lines: Lines) -> None:
    errors = RepeatedError(LOGGER, Ticks())
    for _ in range(10):
        errors.report("broker", "refused")
        errors.report("broker", "unreachable")
        errors.report("camera", "refused")
    assert [message for _, message, _ in lines.seen] == ["refused", "unreachable", "refused"]


def test_a_message_that_varies_cannot_fill_the_log(lines: Lines) -> None:
    errors = RepeatedError(LOGGER, Ticks())
    for number in range(1000):
        errors.report("broker", f"refused, attempt {number}")
    assert len(lines.seen) == 8

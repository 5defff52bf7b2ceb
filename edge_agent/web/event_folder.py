"""Keeps the latest events on disk, so that the page shows them again after a restart."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Annotated

from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import LabelChanged, dump, plain
from edge_agent.system.json_reader import JsonError, between, parse, read
from edge_agent.system.log import RepeatedError, say
from edge_agent.web.event_ring import Event

_MOST_BYTES = 64 << 10  # of one event with its picture
_MOST_WAITING = 32
_NAME = re.compile(r"([0-9]{20})\.event")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The first line of a file. `from` is no name in Python."""

    seq: Annotated[int, between(1, 10**20 - 1)]
    ts: datetime
    ts_synced: bool
    before: str
    to: str
    score: float
    region: str = ""


class EventFolder:
    """One file for each event, the oldest of which go; a thread of its own writes them.

    A file is renamed into its place, but not forced to the disk: an SD card would suffer. A power cut
    takes the last half minute of what the page shows; the events themselves are in the outbox.
    """

    def __init__(self, directory: Path, most_bytes: int, errors: RepeatedError) -> None:
        """Nothing is read or made here. `errors` is told what cannot be written."""
        self._directory = directory
        self._most_bytes = most_bytes
        self._errors = errors
        self._sizes: deque[tuple[int, int]] = deque()  # of each event by its number, oldest first
        self._bytes = 0
        self._waiting: queue.Queue[Event | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="events", daemon=True)

    def open(self, most: int) -> list[Event]:
        """Return the latest events, oldest first, without their pictures; from now on others can be kept.

        Those that cannot be read are left out, with a line in the log: a loss of power has cut them.
        """
        for number, size in self._found():
            self._count(number, size)
        self._make_room()
        self._thread.start()
        latest = [number for number, _ in self._sizes][-most:]
        events = [event for number in latest if (event := _event(self._content(number), number))]
        if cut := len(latest) - len(events):
            say(_LOG, logging.WARNING, f"{self._directory}: kept events that cannot be read", events=cut)
        return events

    def keep(self, event: Event) -> None:
        """Have an event written; where the disk cannot follow, it is left out."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(event)

    def picture(self, seq: int) -> bytes:
        """The picture of an event; empty where there is none."""
        content = self._content(seq)
        return content.partition(b"\n")[2] if _event(content, seq) else b""

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _write_all(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self._write(event)
            except OSError as error:
                self._errors.report("events", f"{self._directory}: events cannot be kept: {error.strerror}")
            else:
                self._errors.recovered("events", "events are kept again")

    def _write(self, event: Event) -> None:
        content = _line(event.changed) + b"\n" + event.thumbnail
        if len(content) > _MOST_BYTES:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(event.changed.seq)
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        unfinished.replace(path)
        self._count(event.changed.seq, len(content))
        self._make_room()

    def _count(self, number: int, size: int) -> None:
        self._sizes.append((number, size))
        self._bytes += size

    def _make_room(self) -> None:
        while self._bytes > self._most_bytes:
            number, size = self._sizes.popleft()
            self._bytes -= size
            with contextlib.suppress(OSError):
                self._path(number).unlink()

    def _found(self) -> list[tuple[int, int]]:
        """The number and the size of each event that is there, oldest first."""
        try:
            with os.scandir(self._directory) as entries:
                named = [(_NAME.fullmatch(entry.name), entry) for entry in entries if entry.is_file()]
                return sorted((int(name[1]), entry.stat().st_size) for name, entry in named if name)
        except OSError:
            return []

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:020d}.event"

    def _content(self, number: int) -> bytes:
        """The file of an event; empty where it cannot be read."""
        try:
            with self._path(number).open("rb") as file:
                return file.read(_MOST_BYTES + 1)
        except OSError:
            return b""


def _line(changed: LabelChanged) -> bytes:
    """An event as JSON in one line."""
    described = plain(changed)
    return dump({"before" if name == "from" else name: value for name, value in described.items()})


def _event(content: bytes, number: int) -> Event | None:
    """What a file holds, without its picture; None where it is not that of this event, whole."""
    line, end, picture = content.partition(b"\n")
    is_whole = picture == b"" or (picture.startswith(b"\xff\xd8") and picture.endswith(b"\xff\xd9"))
    if not end or len(content) > _MOST_BYTES or not is_whole:
        return None
    try:
        kept = read(_Kept, parse(line))
    except JsonError:
        return None
    if kept.seq != number:
        return None
    changed = LabelChanged(
        kept.seq, kept.ts, kept.ts_synced, kept.before, kept.to, kept.score, region=kept.region
    )
    return Event(changed, has_picture=bool(picture))

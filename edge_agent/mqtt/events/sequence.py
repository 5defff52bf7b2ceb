"""Sequence numbers that only grow: over restarts, power cuts, a damaged file, and a new SD card."""

from __future__ import annotations

import logging
import os
import re
import zlib
from pathlib import Path

from edge_agent.mqtt.events.row import LARGEST_SEQ
from edge_agent.system.clock import Clock
from edge_agent.system.files import set_aside
from edge_agent.system.log import say

_FEWEST = 1000
_RECORD = re.compile(rb"(\d{20})(?: ([0-9a-f]{8}))?\n")
_LOG = logging.getLogger(__name__)


class SequenceNumbers:
    """Counts from the wall clock's milliseconds, or from where the last run ended if that is higher.

    Fewer than a thousand numbers are used in a second, so the clock is ahead of every number that was used
    before: also by a run whose file is lost, damaged, or could not be written. If the clock is set only after
    the start (a board without a real-time clock), the numbers jump ahead at that moment.

    The file holds the first number that is neither used nor reserved, and its checksum. Numbers are reserved
    up to the present millisecond, at least twice as many each time: a year takes a dozen writes, and what a
    crash skips is not ahead of the clock either. The file is overwritten in place, within one disk sector:
    that needs no free space, and power fails before or after it. Used by one thread.
    """

    def __init__(self, path: Path, clock: Clock, *, floor: int = 0) -> None:
        """`floor` is the highest number known to be in use, for instance by a waiting event."""
        self._path = path
        self._clock = clock
        self._block = _FEWEST
        self._is_set = clock.synced()
        self._says_failure = True
        self._next = self._reserved = max(self._kept(), floor + 1, self._now())

    def next(self) -> int:
        """The next number."""
        if not self._is_set and self._clock.synced():
            self._is_set = True
            self._next = max(self._next, self._now())
        if self._next >= self._reserved:
            self._reserve()
        number = self._next
        self._next += 1
        return number

    def close(self) -> None:
        """Give back the numbers that were reserved and not used."""
        try:
            self._write(self._next)
        except OSError as error:
            _LOG.debug("%s: %s", self._path, error)

    def _now(self) -> int:
        now = int(self._clock.time_s() * 1000)
        return now if 0 < now <= LARGEST_SEQ else 1

    def _reserve(self) -> None:
        self._reserved = max(self._next + self._block, self._now())
        self._block *= 2
        try:
            self._write(self._reserved)
        except OSError as error:
            self._next = max(self._next, self._now())
            self._reserved = self._next + _FEWEST
            if self._says_failure:
                self._says_failure = False
                message = f"sequence numbers cannot be kept on disk ({error}); they follow the time of day"
                say(_LOG, logging.WARNING, message, file=self._path)

    def _kept(self) -> int:
        """The number in the file; 1 where there is none. A damaged file is set aside."""
        try:
            return self._read()
        except FileNotFoundError:
            return 1
        except (OSError, ValueError) as error:
            message = f"sequence numbers go on from the time of day: {self._path} cannot be used ({error})"
            say(_LOG, logging.ERROR, message)
        try:
            set_aside(self._path)
        except OSError as error:
            _LOG.debug("%s: %s", self._path, error)
        return 1

    def _read(self) -> int:
        """Raises OSError, or ValueError where the file is damaged. An older release wrote no checksum."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            record = _RECORD.fullmatch(file.read(64))
        if record is None or record[2] not in (None, _checksum(record[1])):
            raise ValueError("it is damaged")
        number = int(record[1])
        if number > LARGEST_SEQ:
            raise ValueError("it is damaged")
        return number

    def _write(self, number: int) -> None:
        digits = b"%020d" % number
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, b"%b %b\n" % (digits, _checksum(digits)), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _checksum(digits: bytes) -> bytes:
    return b"%08x" % zlib.crc32(digits)

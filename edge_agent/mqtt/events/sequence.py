"""Sequence numbers that never repeat, restarts and power cuts included, at one small write in millions."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edge_agent.system.clock import Clock
from edge_agent.system.log import say

BLOCK = 10_000_000
"""Numbers reserved by one write: days of frames, and a crash may skip that many."""

_DIGITS = 20
_LOG = logging.getLogger(__name__)


class SequenceNumbers:
    """Counts from 1; the file holds the first number that is neither used nor reserved.

    The file is overwritten in place, within one disk sector: that needs no free space, and power fails before
    or after it. Where it cannot be read or written, counting goes on from the wall clock's milliseconds,
    which exceed any count. Used by one thread.
    """

    def __init__(self, path: Path, clock: Clock, *, floor: int = 0, block: int = BLOCK) -> None:
        """`floor` is the highest number known to be in use, for instance by a waiting event."""
        self._path = path
        self._clock = clock
        self._block = block
        self._next = self._reserved = 0
        try:
            self._next = self._reserved = max(self._read(), floor + 1)
        except (OSError, ValueError) as error:
            self._go_ahead(floor + 1, error)

    def next(self) -> int:
        """The next number."""
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

    def _reserve(self) -> None:
        try:
            self._write(self._next + self._block)
        except OSError as error:
            self._go_ahead(self._next, error)
        self._reserved = self._next + self._block

    def _go_ahead(self, least: int, error: Exception) -> None:
        """Skip the numbers that a later run might take for unused."""
        self._next = self._reserved = max(least, int(self._clock.time_s() * 1000))
        message = f"sequence numbers cannot be kept on disk ({error}); they go on from the time of day"
        say(_LOG, logging.WARNING, message, file=self._path)

    def _read(self) -> int:
        try:
            return int(self._path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 1

    def _write(self, number: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, f"{number:0{_DIGITS}d}\n".encode(), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

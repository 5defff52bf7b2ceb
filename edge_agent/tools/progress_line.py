"""One line that renews itself on a terminal; in a file or a pipe, a plain line now and then."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from typing import TextIO

from edge_agent.system.text import printable

_PLAIN_EVERY_S = 30.0
_TERMINAL_EVERY_S = 0.2


class ProgressLine:
    """Shows how far something is, between lines that stay."""

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        """`clock` returns seconds; `columns` how wide the terminal is."""
        self._stream = stream
        self._clock = clock
        self._columns = columns
        self._is_terminal = stream.isatty()
        self._every_s = _TERMINAL_EVERY_S if self._is_terminal else _PLAIN_EVERY_S
        self._due_s = -math.inf if self._is_terminal else clock() + _PLAIN_EVERY_S
        self._shown = 0

    def show(self, text: str) -> None:
        """Show `text` in place of what was shown before; too often, it is left out."""
        if self._clock() < self._due_s:
            return
        self._due_s = self._clock() + self._every_s
        if not self._is_terminal:
            self._write(f"{printable(text)}\n")
            return
        line = printable(text, max(self._columns() - 1, 10))
        self._write(f"\r{line:<{self._shown}}")
        self._shown = len(line)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.clear()
        self._write(f"{printable(line)}\n")

    def clear(self) -> None:
        """Take away what is shown, before somebody else writes."""
        if self._shown:
            self._write(f"\r{'':<{self._shown}}")
            self._write("\r")
            self._shown = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def duration(seconds: float) -> str:
    """`12 s`, `3:05` (minutes), `2:03:05` (hours)."""
    whole = max(round(seconds), 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"

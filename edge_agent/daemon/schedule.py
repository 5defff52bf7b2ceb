"""Periodic work without a thread: says when something is due."""

from __future__ import annotations


class Every:
    """Due at once, and then each `interval_s`; missed times are not made up for."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._next_s: float | None = None

    def is_due(self, now_s: float) -> bool:
        """Whether the time has come; True once for each interval."""
        if self._next_s is not None and now_s < self._next_s:
            return False
        self._next_s = now_s + self.interval_s
        return True

    def left_s(self, now_s: float) -> float:
        """Seconds until it is due, 0 when it is."""
        return 0.0 if self._next_s is None else max(0.0, self._next_s - now_s)

    def hasten(self) -> None:
        """Make it due now."""
        self._next_s = None

"""When the next frame is due, and how long to wait before a broken source is tried again."""

from __future__ import annotations

import math

_MOST_DOUBLINGS = 63


class Pacer:
    """Keeps a steady rate of frames; what was missed is not caught up."""

    def __init__(self, fps: float) -> None:
        """`fps`: frames a second; 0 for as many as possible."""
        self._period_s = 1 / fps if fps > 0 else 0.0
        self._due_s = -math.inf

    def due_in_s(self, now_s: float) -> float:
        """How long until a frame is due; 0 or less when one is."""
        return self._due_s - now_s

    def taken(self, now_s: float) -> None:
        """A frame was captured at `now_s`."""
        # A frame that came a little late does not delay the next one, so that the rate holds on average.
        in_step = now_s - self._due_s < self._period_s
        self._due_s = (self._due_s if in_step else now_s) + self._period_s


def reopen_pause_s(failures: int, min_s: float, max_s: float) -> float:
    """How long to pause after `failures` (1 or more) in a row: `min_s`, doubled each time, up to `max_s`."""
    return min(max_s, min_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))

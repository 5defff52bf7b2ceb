"""When the next frame is due."""

from __future__ import annotations

import math


class Pacer:
    """Keeps a steady rate of frames; missed ones are not made up for."""

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

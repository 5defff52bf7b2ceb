"""Pauses between attempts that double; with a random part, so that many devices do not return all at once."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Without `random` the pauses are `min_s`, doubled each time, up to `max_s`.

    With it they have full jitter above a floor: the n-th pause is uniform from `min_s` to `min_s` * 2^n, at
    most `max_s`. Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, min_s: float, max_s: float, random: Callable[[], float] | None = None) -> None:
        """`random` returns uniform numbers in [0, 1)."""
        self._min_s = min(min_s, max_s)
        self._max_s = max_s
        self._random = random
        self._ceiling_s = self._min_s

    def next_s(self) -> float:
        """Return the seconds to pause now."""
        present_s, self._ceiling_s = self._ceiling_s, min(self._ceiling_s * 2, self._max_s)
        if self._random is None:
            return present_s
        return self._min_s + (self._ceiling_s - self._min_s) * self._random()

    def reset(self) -> None:
        """Begin again with short pauses."""
        self._ceiling_s = self._min_s

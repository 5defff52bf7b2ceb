"""Pauses between attempts that double; with a random part, so that many devices do not return all at once."""

from __future__ import annotations

from collections.abc import Callable

_MOST_DOUBLINGS = 64


class Backoff:
    """Without `random` the pauses are `min_s`, doubled each time, up to `max_s`.

    With it they have full jitter above a floor: the n-th pause is uniform from `min_s` to `min_s` * 2^n, at
    most `max_s`. Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self, min_s: float, max_s: float, random: Callable[[], float] | None = None, *, each: int = 1
    ) -> None:
        """`random` returns uniform numbers in [0, 1). Every pause is taken `each` times before it grows: once
        for each of several places that are tried in turn."""
        self._min_s = min(min_s, max_s)
        self._max_s = max_s
        self._random = random
        self._each = each
        self._taken = 0

    def next_s(self) -> float:
        """Return the seconds to pause now."""
        step, self._taken = self._taken // self._each, self._taken + 1
        if self._random is None:
            return self._ceiling_s(step)
        return self._min_s + (self._ceiling_s(step + 1) - self._min_s) * self._random()

    def reset(self) -> None:
        """Begin again with short pauses."""
        self._taken = 0

    def _ceiling_s(self, step: int) -> float:
        return min(self._min_s * 2.0 ** min(step, _MOST_DOUBLINGS), self._max_s)

"""Whose turn it is where not all regions can be classified with each frame. Pure.

Stride scheduling (Waldspurger and Weihl, 1995): each turn moves a region on by 1 / priority, and the one that
is behind comes first. So over time each has turns in proportion to its priority, and none waits for ever.
"""

from __future__ import annotations

from collections.abc import Mapping


class Turns:
    """Orders names by how far behind they are. Used by one thread."""

    def __init__(self) -> None:
        self._passed: dict[str, float] = {}

    def order(self, priorities: Mapping[str, int]) -> list[str]:
        """Return the names, those that are due first in front; equals as they are given.

        A new name begins where the one that is furthest behind is.
        """
        known = [self._passed[name] for name in priorities if name in self._passed]
        begin = min(known, default=0.0)
        # Counted from there, so that the numbers stay small for months.
        self._passed = {name: self._passed.get(name, begin) - begin for name in priorities}
        return sorted(priorities, key=lambda name: self._passed[name])

    def taken(self, name: str, priority: int) -> None:
        """Note that `name`, which the last call of `order` has returned, has had a turn."""
        self._passed[name] += 1 / priority

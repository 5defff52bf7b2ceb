"""Says in which turn of a trial each example is left out: of every label as many times, and in like light.

A head knows labels apart by what was shown of each in the same light. Without one burst of one label alone,
it would know the others by night, say, and that one by day only, and take its nights for theirs: it would be
judged far worse than it is. So the darkest bursts of all labels are left out in one turn, the next brighter
ones in another, up to the brightest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.teach.examples import Example

MOST_TURNS = 16
"""A label with more bursts has several left out together."""
NEVER = -1
"""The turn of an example whose label was shown at one time alone: without it there would be no such label."""


def turns_of(examples: Sequence[Example]) -> NDArray[np.intp]:
    """The turn in which each is left out, from 0 on, or NEVER; shape (examples,). A burst stays together.

    A burst that shows several labels counts as that of the first. The examples are in their order.
    """
    bursts: dict[int, list[Example]] = {}
    for each in examples:
        bursts.setdefault(each.burst, []).append(each)
    of_label: dict[str, list[int]] = {}
    for burst in sorted(bursts, key=lambda burst: (_brightness(bursts[burst]), burst)):
        of_label.setdefault(bursts[burst][0].label, []).append(burst)
    turn_of: dict[int, int] = {}
    turns = min(max(map(len, of_label.values())), MOST_TURNS)
    for mine in of_label.values():
        turn_of |= _dealt(mine, turns)
    return np.array([turn_of[each.burst] for each in examples], np.intp)


def _dealt(bursts: Sequence[int], turns: int) -> Mapping[int, int]:
    """The turn of each of a label's bursts, the darkest first: spread evenly, however few they are."""
    if len(bursts) == 1:
        return {bursts[0]: NEVER}
    return {burst: (2 * place + 1) * turns // (2 * len(bursts)) for place, burst in enumerate(bursts)}


def _brightness(burst: Sequence[Example]) -> float:
    return sum(each.brightness for each in burst) / len(burst)

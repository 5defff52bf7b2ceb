"""Bursts: pictures taken in one go. They resemble each other, so a set is split between them, not within."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.errors import ModelError
from edge_agent.tools.train.dataset import Item

GAP_S = 60.0
LONGEST_S = 600.0
PARTS = 3


@dataclass(frozen=True, slots=True)
class Split:
    """Places of pictures in the set, each in one of three parts, and all of a burst in the same."""

    learn: tuple[int, ...]
    tune: tuple[int, ...]
    """Decides when to stop, the temperature, and the threshold."""
    judge: tuple[int, ...]
    """Seen once, at the end."""


def bursts_of(items: Sequence[Item], gap_s: float = GAP_S, longest_s: float = LONGEST_S) -> tuple[str, ...]:
    """The burst of each picture, by a name that does not depend on the other labels.

    One of a label ends with a gap of more than `gap_s`, or after `longest_s`. Pictures without a time are of
    one burst where they are in one folder.
    """
    found = [""] * len(items)
    order = sorted(range(len(items)), key=lambda i: (items[i].label, items[i].time_s or 0.0, items[i].name))
    label, first_s, last_s, count = "", 0.0, 0.0, 0
    for place in order:
        item = items[place]
        if item.time_s is None:
            found[place] = f"{item.label}/folder {item.name.rpartition('/')[0]}"
            continue
        if item.label != label:
            label, first_s, count = item.label, item.time_s, 0
        elif item.time_s - last_s > gap_s or item.time_s - first_s > longest_s:
            first_s, count = item.time_s, count + 1
        last_s = item.time_s
        found[place] = f"{item.label}/{count}"
    return tuple(found)


def split(items: Sequence[Item], bursts: Sequence[str], seed: int, share: float = 0.2) -> Split:
    """Put some `share` of each label's pictures aside to tune, and as many to judge by, burst by burst.

    The same set and seed give the same split. Raises ModelError, naming them, for labels with fewer than
    three bursts: one each to learn from, to tune on, and to be judged by.
    """
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    lacking = []
    for label in sorted({item.label for item in items}):
        mine: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            if item.label == label:
                mine.setdefault(bursts[place], []).append(place)
        if len(mine) < PARTS:
            lacking.append(f"{label} has {len(mine)}")
            continue
        _share_out(mine, seed, share, parts)
    if lacking:
        raise ModelError(
            f"every label needs pictures of {PARTS} bursts, one each to learn from, to tune on, to be judged"
            f" by: {', '.join(lacking)}; take more at another time, or lower --longest-burst"
        )
    learn, tune, judge = (tuple(sorted(part)) for part in parts)
    return Split(learn, tune, judge)


def _share_out(
    mine: Mapping[str, Sequence[int]], seed: int, share: float, parts: tuple[list[int], list[int], list[int]]
) -> None:
    wanted = share * sum(map(len, mine.values()))
    waiting = sorted(mine, key=lambda burst: hashlib.sha256(f"{seed} {burst}".encode()).digest())
    for part, others in ((parts[2], 2), (parts[1], 1)):
        taken = 0.0
        while len(waiting) > others and (not taken or taken + len(mine[waiting[0]]) / 2 <= wanted):
            burst = waiting.pop(0)
            part.extend(mine[burst])
            taken += len(mine[burst])
    for burst in waiting:
        parts[0].extend(mine[burst])

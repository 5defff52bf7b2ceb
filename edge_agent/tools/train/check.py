"""Says what is wrong with a set of pictures before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError, SourceError
from edge_agent.sources.picture import read_picture
from edge_agent.tools.train.bursts import GAP_S, LONGEST_S, Split, bursts_of, split
from edge_agent.tools.train.dataset import Item, labels_of, read_dataset
from edge_agent.tools.train.likeness import NEAR_BITS, distances, fingerprint

IMBALANCE = 5.0
FEW = 20


@dataclass(frozen=True, slots=True)
class LabelCount:
    """What there is of one label."""

    label: str
    pictures: int
    bursts: int


@dataclass(frozen=True, slots=True)
class Twins:
    """Two pictures that look the same, on both sides of the split or under two labels."""

    one: str
    other: str
    bits: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in a set."""

    labels: tuple[LabelCount, ...]
    broken: tuple[tuple[str, str], ...]
    """Names of files that cannot be read, each with the reason."""
    across: tuple[Twins, ...]
    """Of the same label: the answer to one of them is known from the other, so the accuracy would flatter."""
    contradicting: tuple[Twins, ...]
    """Of different labels: one of them may be wrong."""
    parts: tuple[int, int, int]
    """Pictures to learn from, to tune on, to judge by; nothing where the set cannot be split."""
    problems: tuple[str, ...]
    """What stands in the way of training."""
    remarks: tuple[str, ...]
    """What would make it better."""


def check(root: Path, seed: int = 0, gap_s: float = GAP_S, longest_s: float = LONGEST_S) -> Findings:
    """Read every picture of a set. Raises ModelError where it is none."""
    items, broken, prints = _whole(read_dataset(root))
    bursts = bursts_of(items, gap_s, longest_s)
    counts = _counts(items, bursts)
    problems, remarks = _problems(items), _remarks(counts)
    parts = (0, 0, 0)
    across: tuple[Twins, ...] = ()
    contradicting: tuple[Twins, ...] = ()
    try:
        made = split(items, bursts, seed)
    except ModelError as error:
        problems.append(str(error))
    else:
        parts = (len(made.learn), len(made.tune), len(made.judge))
        across, contradicting = _twins(items, prints, made)
    if broken:
        problems.append(f"{len(broken)} files cannot be read: remove or replace them")
    return Findings(counts, broken, across, contradicting, parts, tuple(problems), remarks)


def _whole(
    items: Sequence[Item],
) -> tuple[tuple[Item, ...], tuple[tuple[str, str], ...], NDArray[np.uint8]]:
    whole, broken, prints = [], [], []
    for item in items:
        try:
            prints.append(fingerprint(read_picture(item.path)))
            whole.append(item)
        except SourceError as error:
            broken.append((item.name, str(error)))
    return tuple(whole), tuple(broken), np.array(prints, np.uint8).reshape(len(prints), -1)


def _counts(items: Sequence[Item], bursts: Sequence[str]) -> tuple[LabelCount, ...]:
    pictures = Counter(item.label for item in items)
    goes = Counter(
        label for label, _ in {(item.label, burst) for item, burst in zip(items, bursts, strict=True)}
    )
    return tuple(LabelCount(label, pictures[label], goes[label]) for label in sorted(pictures))


def _problems(items: tuple[Item, ...]) -> list[str]:
    labels = labels_of(items)
    return [] if len(labels) > 1 else [f"{len(labels)} labels: a network tells at least two things apart"]


def _remarks(counts: Sequence[LabelCount]) -> tuple[str, ...]:
    found = [
        f"{each.label}: {each.pictures} pictures, {FEW} or more are better"
        for each in counts
        if each.pictures < FEW
    ]
    sizes = [each.pictures for each in counts]
    if sizes and max(sizes) > IMBALANCE * min(sizes):
        found.append(
            f"the largest label has {max(sizes) / min(sizes):.0f} times as many pictures as the smallest:"
            " labels are weighted in training, but few pictures stay few"
        )
    return tuple(found)


def _twins(
    items: Sequence[Item], prints: NDArray[np.uint8], made: Split
) -> tuple[tuple[Twins, ...], tuple[Twins, ...]]:
    """Each picture to tune on or to judge by is held against all that are learnt from."""
    learn = np.array(made.learn, np.intp)
    known = prints[learn]
    across: list[Twins] = []
    contradicting: list[Twins] = []
    for place in (*made.tune, *made.judge):
        apart = distances(prints[place], known)
        nearest = int(apart.argmin())
        if apart[nearest] > NEAR_BITS:
            continue
        other = items[learn[nearest]]
        twins = Twins(items[place].name, other.name, int(apart[nearest]))
        (across if other.label == items[place].label else contradicting).append(twins)
    return tuple(across), tuple(contradicting)

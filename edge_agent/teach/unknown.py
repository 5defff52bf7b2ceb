"""When a head says that it does not know: too far from every example of the label, or not sure enough."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.teach.examples import Example
from edge_agent.teach.moments import Moment

ALONE = 0.25
"""The floor of a label of which nothing is known but one example."""

_LEAST = 0.1  # things that have nothing to do with each other are that much alike by chance
_SHARE_OF_TYPICAL = 0.5
_ALLOWANCE = 0.1  # another day differs more than one burst shows

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rules:
    """What has to hold for an answer to be given."""

    probability: float = 0.5
    """The least probability of the label."""
    quantile: float = 0.05
    """The share of a label's own examples that may be less like their next than the floor asks."""


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The examples themselves, for "was anything like this ever shown?"."""

    rows: NDArray[np.float16]
    """Shape (examples, features): centred and of length 1, those of a label next to each other."""
    starts: tuple[int, ...]
    """Where the rows of each label begin, and the end of the last."""
    floors: Floats
    """Shape (labels,): a frame that is less like the nearest example of its label is unknown."""

    def likeness(self, unit: Floats, label: int) -> float:
        """The cosine of `unit`, shape (features,), with the nearest example of a label."""
        mine = self.rows[self.starts[label] : self.starts[label + 1]]
        return float((mine.astype(np.float32) @ unit).max())


def nearest_of(examples: Sequence[Example], centre: Floats, rules: Rules) -> Generator[None, None, Nearest]:
    """Prepare the examples, which are in their order; one label between two yields."""
    rows, floors, starts = [], [], [0]
    for _, group in itertools.groupby(examples, key=lambda each: each.label):
        mine = list(group)
        units = np.stack([each.feature for each in mine]).astype(np.float32) - centre
        lengths = np.linalg.norm(units, axis=1, keepdims=True)
        units /= np.where(lengths > 0, lengths, 1)
        bursts = np.array([each.burst for each in mine], np.intp)
        rows.append(units.astype(np.float16))
        floors.append(floor_of(units @ units.T, bursts, rules.quantile))
        starts.append(starts[-1] + len(mine))
        yield
    return Nearest(np.concatenate(rows), tuple(starts), np.array(floors, np.float32))


def floor_of(products: Floats, bursts: NDArray[np.intp], quantile: float) -> float:
    """The floor of one label, by how much each of its examples is like the nearest of another burst.

    `products` are the cosines between its examples, shape (n, n), and are overwritten. Where all are of one
    burst, each is held against the others of it, and another day is allowed to differ somewhat more.
    """
    if len(bursts) < 2:
        return ALONE
    same = bursts[:, None] == bursts[None, :]
    if has_others := not same.all():
        products[same] = -1.0
    np.fill_diagonal(products, -1.0)
    likeness = np.quantile(products.max(axis=1), quantile, method="lower")
    return max(float(likeness) - (0.0 if has_others else _ALLOWANCE), _LEAST)


def mean_floors(
    classes: Mapping[str, Moment], centre: NDArray[np.float64], directions: NDArray[np.float64]
) -> Floats:
    """The floor of each label for the cosine with its mean, shape (labels,), where no example is at hand.

    Half of what is typical of the label, which its moments say exactly.
    """
    floors = [
        _SHARE_OF_TYPICAL * float(direction @ (moment.mean - centre)) / moment.distance_from(centre)
        if moment.count > 1
        else ALONE
        for moment, direction in zip(classes.values(), directions, strict=True)
    ]
    return np.array(floors, np.float32)

"""When a head says that it does not know: too far from every example of the label, or not sure enough."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.teach.examples import Example, Feature
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
class Shown:
    """The examples of one label, for "was anything like this ever shown?"; they are not copied."""

    features: tuple[Feature, ...]
    scales: Floats
    """Shape (examples,): one over the length of each feature less the centre; 0 where it has none."""
    floor: float
    """A frame that is less like the nearest example is unknown."""

    def likeness(self, unit: Floats, along_centre: float) -> float:
        """The cosine of `unit`, shape (features,), with the nearest example less the centre.

        `along_centre` is the product of `unit` with the centre.
        """
        along = np.stack(self.features).astype(np.float32) @ unit
        return float(((along - np.float32(along_centre)) * self.scales).max())


def shown(
    examples: Sequence[Example], centre: Floats, rules: Rules
) -> Generator[None, None, tuple[Shown, ...]]:
    """Prepare the examples, which are in their order; one label between two yields."""
    found = []
    for _, group in itertools.groupby(examples, key=lambda each: each.label):
        mine = list(group)
        features = tuple(each.feature for each in mine)
        units = np.stack(features).astype(np.float32) - centre
        lengths = np.linalg.norm(units, axis=1)
        scales = np.where(lengths > 0, 1 / np.where(lengths > 0, lengths, 1), 0).astype(np.float32)
        units *= scales[:, None]
        bursts = np.array([each.burst for each in mine], np.intp)
        found.append(Shown(features, scales, floor_of(units @ units.T, bursts, rules.quantile)))
        yield
    return tuple(found)


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
    likeness = np.sort(products.max(axis=1))  # numpy's own quantile takes 2 MB, with what it imports
    typical = float(likeness[int(quantile * (len(likeness) - 1))])
    return max(typical - (0.0 if has_others else _ALLOWANCE), _LEAST)


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

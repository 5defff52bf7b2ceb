"""When a head says that it does not know: too unlike all that was shown, or not sure enough.

How familiar a frame is, is computed with some of the examples, the *anchors*. Two things make it strange:

- Its distance to the nearest anchor, in units of how far apart examples of one label are on different days.
- Its novelty: the share of it, less the centre, that no mixture of anchors gives. This is the variance that a
  Gaussian process with these anchors would still have, 0 to 1.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.teach.examples import Example
from edge_agent.teach.moments import Moment, dot, rooted

MOST_ANCHORS = 128
"""Of all labels together: a frame is compared with that many at most, so that it takes no longer."""
ALONE = 0.25
"""The least cosine with the mean of a label of which nothing is known but one example."""

_LEAST_FAMILIAR = -2.6  # where no label was shown at two times: what scenes of other cameras have taught
_USUAL_DISTANCE = 0.45  # between examples of one label on different days, where that cannot be seen yet
_WORTH_OF_USUAL = 2  # it counts as much as two times at which a label was shown
_ALLOWANCE, _ALLOWANCE_OF_FEW = (
    0.05,
    0.5,
)  # other days differ more than those that were shown: if few, much more
_RIDGE = np.float32(0.3)  # how much of a feature is taken for noise, against its length of 1
_SHARE_OF_TYPICAL = 0.5
_BLOCK = 32  # anchors that are taken as float32 at a time

Floats = NDArray[np.float32]
_Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rules:
    """What has to hold for an answer to be given."""

    probability: float = 0.5
    """The least probability of the label."""
    quantile: float = 0.05
    """The share of the examples that may be less familiar than the floor asks, on days not taught."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The anchors, for "was anything like this ever shown?"."""

    roots: NDArray[np.float16]
    """Shape (anchors, features): a copy, so that the examples can be let go."""
    lengths: Floats
    """Shape (anchors,): those of their roots."""
    centred: Floats
    """Shape (anchors,): those of their roots less the centre."""
    inverse: Floats
    """Shape (anchors, anchors): of the products between the unit roots less the centre, and the ridge."""
    spread: float
    """The usual distance between examples of one label on different days."""
    floors: Floats
    """Shape (labels,): a frame that is less familiar is unknown. Lower, the fewer times a label was shown."""

    def familiarity(self, root: Floats, unit: Floats, along_centre: float) -> float:
        """How familiar a frame is: at most 0, which is about an anchor itself; the stranger, the less.

        `root` is its root, shape (features,), `unit` the same less the centre with length 1, and
        `along_centre` the product of that with the centre.
        """
        own, along = self._products(root, unit)
        length = float(np.sqrt(dot(root, root)))
        cosine = float((own / self.lengths).max()) / length if length > 0 else 0.0
        known = (along - np.float32(along_centre)) / self.centred
        novelty = 1 - float(dot(known, dot(self.inverse, known)))
        return _familiarity(cosine, novelty, self.spread)

    def _products(self, root: Floats, unit: Floats) -> tuple[Floats, Floats]:
        found = np.empty((2, len(self.roots)), np.float32)
        for at in range(0, len(self.roots), _BLOCK):
            some = self.roots[at : at + _BLOCK].astype(np.float32)
            found[0, at : at + _BLOCK] = dot(some, root)
            found[1, at : at + _BLOCK] = dot(some, unit)
        return found[0], found[1]


def shown(examples: Sequence[Example], centre: Floats, rules: Rules) -> Generator[None, None, Shown]:
    """Prepare the anchors of the examples, which are in their order; a bounded step between two yields."""
    anchors = _anchors(examples)
    roots = np.empty((len(anchors), len(centre)), np.float16)
    for place, anchor in enumerate(anchors):
        roots[place] = rooted(anchor.feature)
    yield
    lengths, cosines = yield from _cosines(roots, np.zeros_like(centre))
    centred, products = yield from _cosines(roots, centre)
    products.flat[:: len(anchors) + 1] += _RIDGE
    inverse = yield from inverted(products)
    spread, floors = _typical(anchors, cosines, inverse, rules.quantile)
    return Shown(roots, lengths, centred, inverse, spread, floors)


def inverted(matrix: Floats) -> Generator[None, None, Floats]:
    """The inverse of a symmetric matrix without negative eigenvalues, which is overwritten.

    Without LAPACK, of which nothing else here needs the pages; a row at a time.
    """
    for place in range(len(matrix)):
        pivot = matrix[place, place]
        row = matrix[place] / pivot
        column = matrix[:, place].copy()
        column[place] = 0
        matrix -= np.outer(column, row)
        matrix[place] = row
        matrix[:, place] = -column / pivot
        matrix[place, place] = 1 / pivot
        if place % _BLOCK == 0:
            yield
    return matrix


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


def _familiarity(cosine: float, novelty: float, spread: float) -> float:
    return -max(novelty, 0.0) - _distance(cosine) / spread


def _distance(cosine: float) -> float:
    """Between two vectors of length 1."""
    return float(np.sqrt(max(2 - 2 * cosine, 0.0)))  # and not `math`, for whose pages see `dot`


def _cosines(roots: NDArray[np.float16], centre: Floats) -> Generator[None, None, tuple[Floats, Floats]]:
    """The lengths of all roots less the centre, which are never 0, and the cosines between them."""
    found = np.empty((len(roots), len(roots)), np.float32)
    for top in range(0, len(roots), _BLOCK):
        rows = roots[top : top + _BLOCK] - centre
        for left in range(0, top + 1, _BLOCK):
            part = rows @ (roots[left : left + _BLOCK] - centre).T
            found[top : top + _BLOCK, left : left + _BLOCK] = part
            found[left : left + _BLOCK, top : top + _BLOCK] = part.T
        yield
    lengths: Floats = np.sqrt(np.maximum(np.diagonal(found), np.float32(1e-12)))
    found /= np.outer(lengths, lengths)
    return lengths, found


def _anchors(examples: Sequence[Example]) -> list[Example]:
    """As many of each label as there is room for, from all of its bursts."""
    groups = [list(group) for _, group in itertools.groupby(examples, key=lambda each: each.label)]
    room = max(MOST_ANCHORS // len(groups), 1)
    found: list[Example] = []
    for group in groups:
        step = max(len(group) / room, 1.0)
        found += [group[int(number * step)] for number in range(min(len(group), room))]
    return found


def _typical(
    anchors: Sequence[Example], cosines: Floats, inverse: Floats, quantile: float
) -> tuple[float, Floats]:
    """The spread, and the floors: by how familiar each anchor is without those of its own burst."""
    labels = np.array([each.label for each in anchors])
    bursts = np.array([each.burst for each in anchors], np.intp)
    shown_at = Counter(label for label, _ in sorted({(each.label, each.burst) for each in anchors}))
    is_other_day = (labels[:, None] == labels) & (bursts[:, None] != bursts)
    can_tell = np.flatnonzero(is_other_day.any(axis=1))
    if not len(can_tell):
        return _USUAL_DISTANCE, np.full(len(shown_at), _LEAST_FAMILIAR, np.float32)
    nearest = np.where(is_other_day, cosines, -1.0).max(axis=1)
    distance = _distance(_quantile(nearest[can_tell], 0.5))
    days = sum(count for count in shown_at.values() if count > 1)
    spread = (days * distance + _WORTH_OF_USUAL * _USUAL_DISTANCE) / (days + _WORTH_OF_USUAL)
    novelty = _novelties(bursts, inverse)
    familiar = [_familiarity(float(nearest[place]), float(novelty[place]), spread) for place in can_tell]
    floor = _quantile(np.array(familiar, np.float32), quantile)
    allowances = [_ALLOWANCE + _ALLOWANCE_OF_FEW / count for _, count in sorted(shown_at.items())]
    return spread, np.float32(floor) - np.array(allowances, np.float32)


def _novelties(bursts: NDArray[np.intp], inverse: Floats) -> Floats:
    """That of each anchor beside those of other bursts, shape (anchors,): the inverse says it by blocks."""
    found = np.empty(len(bursts), np.float32)
    for burst in sorted(set(bursts.tolist())):  # np.unique imports what takes 1 MB
        mine = np.flatnonzero(bursts == burst)
        block = inverse[np.ix_(mine, mine)]
        for _ in inverted(block):
            pass
        found[mine] = np.diagonal(block) - _RIDGE
    return found


def _quantile(values: Floats, share: float) -> float:
    """numpy's own takes 2 MB, with what it imports."""
    return float(np.sort(values)[int(share * (len(values) - 1))])

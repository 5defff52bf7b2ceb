"""When a head says that it does not know: too unlike all that was shown, or not sure enough.

How familiar a frame is, is computed with some of the examples, the *anchors*. Two things make it strange:

- Its distance to the nearest anchor, in units of how far apart examples of one label are on different days.
  Anchors count with each label: fog, dusk and rain change what other labels show much as they have changed
  the one that was shown in them. So an anchor is *moved* by the difference between the means of two labels.
- Its novelty: the share of it, less the centre, that no mixture of anchors gives. This is the variance that a
  Gaussian process with these anchors would still have, 0 to 1. What differs from day to day within a label
  counts for less there.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.lean_dataclass import dataclass
from edge_agent.teach.examples import AnyExample
from edge_agent.teach.moments import Moment, dot, rooted

MOST_ANCHORS = 128
"""Of all labels together: a frame is compared with that many at most, so that it takes no longer."""
ALONE = 0.25
"""The least cosine with the mean of a label of which nothing is known but one example."""

_LEAST_FAMILIAR = -1.65  # where no label was shown at two times: what scenes of other cameras have taught
_LEAST_FAMILIAR_ALONE = -1.4  # the same for one label alone, since there is no centre then
_WEIGHT_OF_DISTANCE = 0.4  # against novelty
_USUAL_DISTANCE = 0.45  # between examples of one label on different days, where that cannot be seen yet
_WORTH_OF_USUAL = 2  # it counts as much as two times at which a label was shown
_ALLOWANCE, _ALLOWANCE_OF_FEW = 0.17, 0.75  # other days differ more than those that were shown: if few, much
_RIDGE = np.float32(0.1)  # how much of a feature is taken for noise, against its length of 1
_LEAST_VARIANCE = np.float32(0.1)  # of a number of the feature from day to day, against the mean of them
_SHARE_OF_TYPICAL = 0.5
_BLOCK = 32  # anchors that are taken as float32 at a time
_BLOCK_OF_FRAME = 8  # the same for each frame: the allocator keeps what is small

Floats = NDArray[np.float32]


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
    labels: NDArray[np.intp]
    """Shape (anchors,): the place of each anchor's label."""
    parts: Floats
    """Shape (labels, anchors): what each anchor gives to the mean of its label."""
    lengths: Floats
    """Shape (labels, anchors): those of the roots, moved to each label."""
    scale: Floats
    """Shape (features,): what each number counts in novelty."""
    centred: Floats
    """Shape (anchors,): the lengths of the roots less the centre, so scaled."""
    inverse: Floats
    """Shape (anchors, anchors): of the products between these, brought to length 1, and the ridge."""
    spread: float
    """The usual distance between examples of one label on different days."""
    floors: Floats
    """Shape (labels,): a frame that is less familiar is unknown. Lower, the fewer times a label was shown."""

    def familiarity(self, root: Floats, centre: Floats) -> float:
        """How familiar a frame is: at most 0, which is about an anchor itself; the stranger, the less.

        `root` is its root and `centre` that of the head, both of shape (features,).
        """
        scaled = (root - centre) * self.scale
        length = float(np.sqrt(dot(scaled, scaled)))
        along = scaled * (self.scale / np.float32(length)) if length > 0 else scaled
        own, known = self._products(root, along)
        known = (known - dot(centre, along)) / self.centred
        novelty = 1 - float(dot(known, dot(self.inverse, known)))
        moved = _moved(own, dot(self.parts, own), self.labels) / self.lengths
        length = float(np.sqrt(dot(root, root)))
        return _familiarity(float(moved.max()) / length if length > 0 else 0.0, novelty, self.spread)

    def _products(self, root: Floats, along: Floats) -> tuple[Floats, Floats]:
        found = np.empty((2, len(self.roots)), np.float32)
        for at in range(0, len(self.roots), _BLOCK_OF_FRAME):
            some = self.roots[at : at + _BLOCK_OF_FRAME].astype(np.float32)
            found[0, at : at + _BLOCK_OF_FRAME] = dot(some, root)
            found[1, at : at + _BLOCK_OF_FRAME] = dot(some, along)
        return found[0], found[1]


def shown(examples: Sequence[AnyExample], centre: Floats, rules: Rules) -> Generator[None, None, Shown]:
    """Prepare the anchors of the examples, which are in their order; a bounded step between two yields."""
    anchors = _anchors(examples)
    roots = np.empty((len(anchors), len(centre)), np.float16)
    for place, anchor in enumerate(anchors):
        roots[place] = rooted(anchor.feature)
    yield
    names = sorted({each.label for each in anchors})
    labels = np.array([names.index(each.label) for each in anchors], np.intp)
    bursts = np.array([each.burst for each in anchors], np.intp)
    scale = yield from _scale(roots, labels, bursts)
    products = yield from _products(roots, np.zeros_like(centre), np.ones_like(scale))
    parts = _parts(labels, np.ones(len(anchors), bool))
    lengths = _moved_lengths(products, parts, labels)
    cosines = yield from _nearest(products, labels, bursts)
    products = yield from _products(roots, centre, scale)
    centred = _lengths(np.diagonal(products))
    products /= np.outer(centred, centred)
    products.flat[:: len(anchors) + 1] += _RIDGE
    inverse = yield from inverted(products)
    spread, floors = _typical(labels, bursts, *cosines, inverse, rules.quantile)
    return Shown(roots, labels, parts, lengths, scale, centred, inverse, spread, floors)


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
    return -max(novelty, 0.0) - _WEIGHT_OF_DISTANCE * _distance(cosine) / spread


def _distance(cosine: float) -> float:
    """Between two vectors of length 1."""
    return float(np.sqrt(max(2 - 2 * cosine, 0.0)))  # and not `math`, for whose pages see `dot`


def _scale(
    roots: NDArray[np.float16], labels: NDArray[np.intp], bursts: NDArray[np.intp]
) -> Generator[None, None, Floats]:
    """One over the deviation of each number of the feature from day to day, shape (features,).

    All ones where no label was shown at two times.
    """
    total, days = np.zeros(roots.shape[1], np.float32), 0
    for label in range(int(labels.max()) + 1):
        mean = np.zeros_like(total)
        for number, burst in enumerate(sorted(set(bursts[labels == label].tolist())), start=1):
            mine = roots[(labels == label) & (bursts == burst)].mean(axis=0, dtype=np.float32)
            step = mine - mean
            mean += step / np.float32(number)
            total += step * (mine - mean)
            days += number > 1
        yield
    if not days or not total.any():
        return np.ones_like(total)
    variance = total / total.mean()
    return np.asarray(1 / np.sqrt(variance + _LEAST_VARIANCE), np.float32)


def _products(roots: NDArray[np.float16], centre: Floats, scale: Floats) -> Generator[None, None, Floats]:
    """The products between all roots less the centre, scaled; shape (anchors, anchors)."""
    found = np.empty((len(roots), len(roots)), np.float32)
    for top in range(0, len(roots), _BLOCK):
        rows = (roots[top : top + _BLOCK] - centre) * scale
        for left in range(0, top + 1, _BLOCK):
            part = rows @ ((roots[left : left + _BLOCK] - centre) * scale).T
            found[top : top + _BLOCK, left : left + _BLOCK] = part
            found[left : left + _BLOCK, top : top + _BLOCK] = part.T
        yield
    return found


def _lengths(squares: Floats) -> Floats:
    """Never 0."""
    found: Floats = np.sqrt(np.maximum(squares, np.float32(1e-12)))
    return found


def _parts(labels: NDArray[np.intp], used: NDArray[np.bool_]) -> Floats:
    """What each anchor that is used gives to the mean of its label, shape (labels, anchors)."""
    parts = np.zeros((int(labels.max()) + 1, len(labels)), np.float32)
    parts[labels, np.arange(len(labels))] = used
    parts /= np.maximum(parts.sum(axis=1, keepdims=True), 1)
    return parts


def _moved(own: Floats, means: Floats, labels: NDArray[np.intp]) -> Floats:
    """Products with each anchor moved to each label, shape (labels, anchors).

    `own` are those with the anchors, shape (anchors,), and `means` with the means of labels, shape (labels,).
    """
    return own + means[:, None] - means[labels]


def _moved_lengths(products: Floats, parts: Floats, labels: NDArray[np.intp]) -> Floats:
    """The length of each anchor, moved to each label: shape (labels, anchors)."""
    with_means = parts @ products
    between = with_means @ parts.T
    own = np.diagonal(between)
    squares = np.diagonal(products) + own[:, None] + own[labels] - 2 * between[:, labels]
    squares += 2 * (with_means - with_means[labels, np.arange(len(labels))])
    return _lengths(squares.astype(np.float32))


def _nearest(
    products: Floats, labels: NDArray[np.intp], bursts: NDArray[np.intp]
) -> Generator[None, None, tuple[Floats, Floats]]:
    """The cosine of each anchor with the nearest of its label, of other bursts; -1 where there is none.

    As they are, and with those of other labels, moved; both of shape (anchors,).
    """
    lengths = _lengths(np.diagonal(products))
    plain, moved = np.full((2, len(labels)), -1.0, np.float32)
    for burst in sorted(set(bursts.tolist())):  # np.unique imports what takes 1 MB
        used = bursts != burst
        parts = _parts(labels, used)
        apart = _moved_lengths(products, parts, labels)
        for place in np.flatnonzero(~used):
            label = labels[place]
            mine = used & (labels == label)
            if not mine.any():
                continue
            own = products[place] / lengths[place]
            plain[place] = (own[mine] / lengths[mine]).max()
            moved[place] = (_moved(own, parts @ own, labels)[label] / apart[label])[used].max()
        yield
    return plain, moved


def _anchors(examples: Sequence[AnyExample]) -> list[AnyExample]:
    """As many of each label as there is room for, from all of its bursts."""
    groups = [list(group) for _, group in itertools.groupby(examples, key=lambda each: each.label)]
    room = max(MOST_ANCHORS // len(groups), 1)
    found: list[AnyExample] = []
    for group in groups:
        step = max(len(group) / room, 1.0)
        found += [group[int(number * step)] for number in range(min(len(group), room))]
    return found


def _typical(
    labels: NDArray[np.intp],
    bursts: NDArray[np.intp],
    plain: Floats,
    moved: Floats,
    inverse: Floats,
    quantile: float,
) -> tuple[float, Floats]:
    """The spread, and the floors: by how familiar each anchor is without those of its own burst."""
    shown_at = [len(set(bursts[labels == label].tolist())) for label in range(int(labels.max()) + 1)]
    can_tell = np.flatnonzero(plain > -1)
    if not len(can_tell):
        least = _LEAST_FAMILIAR if len(shown_at) > 1 else _LEAST_FAMILIAR_ALONE
        return _USUAL_DISTANCE, np.full(len(shown_at), least, np.float32)
    distance = _distance(_quantile(plain[can_tell], 0.5))
    days = sum(count for count in shown_at if count > 1)
    spread = (days * distance + _WORTH_OF_USUAL * _USUAL_DISTANCE) / (days + _WORTH_OF_USUAL)
    novelty = _novelties(bursts, inverse)
    familiar = [_familiarity(float(moved[place]), float(novelty[place]), spread) for place in can_tell]
    floor = _quantile(np.array(familiar, np.float32), quantile)
    allowances = [_ALLOWANCE + _ALLOWANCE_OF_FEW / count for count in shown_at]
    return spread, np.float32(floor) - np.array(allowances, np.float32)


def _novelties(bursts: NDArray[np.intp], inverse: Floats) -> Floats:
    """That of each anchor beside those of other bursts, shape (anchors,): the inverse says it by blocks."""
    found = np.empty(len(bursts), np.float32)
    for burst in sorted(set(bursts.tolist())):
        mine = np.flatnonzero(bursts == burst)
        block = inverse[np.ix_(mine, mine)]
        for _ in inverted(block):
            pass
        found[mine] = np.diagonal(block) - _RIDGE
    return found


def _quantile(values: Floats, share: float) -> float:
    """numpy's own takes 2 MB, with what it imports."""
    return float(np.sort(values)[int(share * (len(values) - 1))])

"""Trials: each example is answered by what the others teach, without those of its own burst.

With that go bursts of the other labels, see `folds`. An example is judged where its label was shown in its
light, by day or at night, at another time too: how it does in the dark says nothing before.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.lean_dataclass import dataclass
from edge_agent.teach import regression
from edge_agent.teach.examples import AnyExample, labels_of
from edge_agent.teach.folds import folds_of
from edge_agent.teach.gram import Gram
from edge_agent.teach.head import SHARPNESS, softmax
from edge_agent.teach.unknown import Floats

LEAST_TIMES = 4
"""Bursts that each label must have for the trial to choose: without one of two, half of it is not there."""

NOT_JUDGED = -1

Choice = Literal["means", "both", "regression"]

Numbers = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What examples were taken for without their own burst; both of shape (examples,)."""

    labels: Numbers
    """NOT_JUDGED where without it nothing was left of its label in its light, or nothing to compare."""
    probabilities: Floats

    def correct(self, truth: Numbers) -> int:
        return int((self.labels == truth).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The answers of both methods; examples are in their order, labels by their places in it."""

    truth: Numbers
    means: Answers
    regression: Answers | None
    """None where some label has too few examples for it."""
    both: Answers | None
    """By the sum of what the two say; None where there is no regression."""
    times: int
    """The fewest bursts of a label."""

    @property
    def better(self) -> Choice:
        """What is to answer: the one that was right more often, and not by chance alone; else both together.

        Only examples about which the two differ say anything: of so many, one as often as the other would be
        right, give or take the root of their number. From few bursts it cannot be told: then regression,
        which is the better of the two wherever much depends on it.
        """
        if self.regression is None or (self.means.labels == NOT_JUDGED).all():
            return "means"
        if self.times < LEAST_TIMES:
            return "regression"
        by_means, by_regression = (each.labels == self.truth for each in (self.means, self.regression))
        means_alone = int((by_means & ~by_regression).sum())
        regression_alone = int((by_regression & ~by_means).sum())
        if abs(means_alone - regression_alone) <= math.sqrt(means_alone + regression_alone):
            return "both"
        return "means" if means_alone > regression_alone else "regression"

    @property
    def chosen(self) -> Answers:
        found = {"means": self.means, "both": self.both, "regression": self.regression}[self.better]
        return found or self.means


def truth_of(examples: Sequence[AnyExample]) -> Numbers:
    """The place of each example's label among the labels, shape (examples,)."""
    places = {label: place for place, label in enumerate(labels_of(examples))}
    return np.array([places[each.label] for each in examples], np.intp)


def shares_of(truth: Numbers, used: Flags, rows: int, labels: int) -> Floats:
    """What each used example gives to the mean of its label, shape (rows, labels); other rows give 0."""
    shares = np.zeros((rows, labels), np.float32)
    shares[np.arange(len(truth)), truth] = used
    shares /= np.maximum(shares.sum(axis=0), 1)
    return shares


def centre_weights(shares: Floats, *, has_frames: bool) -> Floats:
    """What each row gives to the centre, shape (rows,): see `head.centre_of`."""
    present = int(shares.any(axis=0).sum())
    weights = shares.sum(axis=1)
    if has_frames:
        weights[-1] = 1.0
    parts = present + has_frames
    return weights / np.float32(parts) if parts > 1 else np.zeros_like(weights)


def trial(
    products: Floats, examples: Sequence[AnyExample], *, has_frames: bool, regress: bool
) -> Generator[None, None, Trial]:
    """Leave out examples, one fold after another; a bounded step of it between two yields.

    `products` are those of the examples, which are in their order, and, with `has_frames`, of the mean of
    unnamed frames behind them.
    """
    truth, folds = truth_of(examples), folds_of(examples, products)
    lights = 2 * truth + np.array([each.is_night for each in examples])
    means, regressed, both = (_nothing(len(truth)) for _ in range(3))
    labels = int(truth.max()) + 1
    for fold in range(int(folds.max()) + 1):
        left_out = folds == fold
        shares = shares_of(truth, ~left_out, len(products), labels)
        absent = np.asarray(~shares.any(axis=0))
        is_known = np.bincount(lights[~left_out], minlength=2 * labels) > 0
        judged = np.flatnonzero(left_out & is_known[lights])
        if not len(judged) or labels - absent.sum() < 2:
            continue
        gram = Gram(products, centre_weights(shares, has_frames=has_frames))
        scores = gram.with_directions(shares) * SHARPNESS
        scores[:, absent] = -1e9
        _note(means, scores, judged)
        yield
        if regress:
            fitted = yield from regression.coefficients(gram, shares)
            logits = regression.logits(gram, fitted, absent)
            _note(regressed, logits, judged)
            _note(both, scores + logits, judged)
            yield
    times = min(Counter(label for label, _ in {(each.label, each.burst) for each in examples}).values())
    return Trial(truth, means, regressed if regress else None, both if regress else None, times)


def _nothing(examples: int) -> Answers:
    return Answers(np.full(examples, NOT_JUDGED, np.intp), np.zeros(examples, np.float32))


def _note(answers: Answers, scores: Floats, judged: Numbers) -> None:
    probabilities = softmax(scores[judged])
    best = probabilities.argmax(axis=1)
    answers.labels[judged] = best
    answers.probabilities[judged] = probabilities[np.arange(len(judged)), best]

"""Fits a head to examples, in slices that fit between two frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import TeachError
from edge_agent.lean_dataclass import dataclass
from edge_agent.teach import regression
from edge_agent.teach.examples import AnyExample, Feature, fingerprint_in_order, in_order
from edge_agent.teach.gram import BLOCK, Gram, Rows, products
from edge_agent.teach.head import SHARPNESS, Backbone, Head, Layer, Taught, centre_of, directions_of
from edge_agent.teach.moments import Moment, moments_of
from edge_agent.teach.trial import Trial, centre_weights, shares_of, trial, truth_of
from edge_agent.teach.unknown import Floats, Rules, shown

LEAST_FOR_REGRESSION = 3
"""Examples that every label must have."""

_Result = TypeVar("_Result")


class OtherExamplesError(TeachError):
    """A head was fitted to other examples than these."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A head, and how the examples did without themselves."""

    head: Head
    trial: Trial
    """In the order of `examples.in_order`."""


def fit(
    examples: Iterable[AnyExample],
    backbone: Backbone,
    frames: Moment | None = None,
    rules: Rules | None = None,
) -> Fit:
    """Fit in one go; see `fitting`."""
    return finished(fitting(examples, backbone, frames, rules))


def fitting(
    examples: Iterable[AnyExample],
    backbone: Backbone,
    frames: Moment | None = None,
    rules: Rules | None = None,
    give_back: Callable[[], None] = lambda: None,
) -> Generator[None, None, Fit]:
    """Fit, and yield between steps that each take a few milliseconds at most on a board.

    `give_back` is called where memory can be trimmed: each part of it needs other code.

    Means of the labels from the first example on; once every label has LEAST_FOR_REGRESSION, what a trial
    says: regression, means or both. The order of the examples does not matter.
    `frames` is the moment of frames of this camera that nobody has named. Raises TeachError where there are
    no examples, or they are not of this backbone.
    """
    rules = rules or Rules()
    sorted_examples = in_order(examples)
    if not sorted_examples:
        raise TeachError("there are no examples to learn from")
    yield
    classes: dict[str, Moment] = {}
    for _, mine in itertools.groupby(sorted_examples, key=lambda each: each.label):
        classes |= moments_of(mine)
        if any(len(each.total) != backbone.features for each in classes.values()):
            raise TeachError(f"not every example has the {backbone.features} features of the network")
        yield
    give_back()
    yield
    tried, layer = yield from _learnt(sorted_examples, classes, frames, give_back)
    give_back()
    yield
    centre = centre_of(classes, frames).astype(np.float32)
    nearest = yield from shown(sorted_examples, centre, rules)
    give_back()
    yield
    taught = Taught(backbone, classes, frames, layer, fingerprint_in_order(sorted_examples))
    return Fit(Head(taught, nearest, rules), tried)


def recall(taught: Taught, examples: Iterable[AnyExample], rules: Rules | None = None) -> Head:
    """The head of a file together with the examples that it was fitted to: as good as on the day of the fit.

    Raises OtherExamplesError where they are not the ones.
    """
    sorted_examples = in_order(examples)
    if fingerprint_in_order(sorted_examples) != taught.fingerprint:
        raise OtherExamplesError("the examples have changed since this head was fitted to them; fit it again")
    centre = centre_of(taught.classes, taught.frames).astype(np.float32)
    return Head(taught, finished(shown(sorted_examples, centre, rules or Rules())), rules)


def finished(slices: Generator[None, None, _Result]) -> _Result:
    """Do all of what is done in slices, in one go; returns what it comes to."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: _Result = end.value
            return result


class _Features:
    """Those of examples, each read when it is asked for."""

    def __init__(self, examples: Sequence[AnyExample]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, place: int) -> Feature:
        return self._examples[place].feature


def _learnt(
    examples: Sequence[AnyExample],
    classes: Mapping[str, Moment],
    frames: Moment | None,
    give_back: Callable[[], None],
) -> Generator[None, None, tuple[Trial, Layer | None]]:
    """What trials say, and the layer of a regression if that is to answer: all that takes much memory."""
    truth = truth_of(examples)
    extra = frames.mean.astype(np.float32) if frames else None
    centre = centre_of(classes, frames).astype(np.float32)
    rows = Rows(_Features(examples), extra, centre)
    every = yield from products(rows)
    give_back()
    yield
    regress = len(classes) > 1 and min(each.count for each in classes.values()) >= LEAST_FOR_REGRESSION
    tried = yield from trial(every, examples, has_frames=frames is not None, regress=regress)
    if tried.better == "means":
        return tried, None
    shares = shares_of(truth, np.ones(len(truth), bool), len(rows), len(classes))
    # The rows are less their centre already; the rounding of it is all that is subtracted here.
    gram = Gram(every, centre_weights(shares, has_frames=frames is not None))
    fitted = yield from regression.coefficients(gram, shares)
    bias, shares = fitted.sum(axis=0), fitted * gram.scale[:, None]
    del every, gram  # the larger half of all that a fit takes
    give_back()
    yield
    weights = yield from _weights(rows, shares, _by_means(classes, frames) if tried.better == "both" else 0)
    return tried, Layer(weights, bias)


def _by_means(classes: Mapping[str, Moment], frames: Moment | None) -> Floats:
    """The weights with which means alone answer, shape (labels, features)."""
    return directions_of(classes, centre_of(classes, frames)).astype(np.float32) * SHARPNESS


def _weights(
    rows: Rows, shares: Floats, others: Floats | Literal[0]
) -> Generator[None, None, NDArray[np.float16]]:
    """The sum of the rows for each label, times what each gives to it, and the weights of `others` added."""
    weights = np.zeros((shares.shape[1], rows.features), np.float32) + others
    for start in range(0, len(rows), BLOCK):
        weights += shares[start : start + BLOCK].T @ rows.block(start)
        yield
    return weights.astype(np.float16)

"""The products stand for the features: whatever is computed of them is what the features themselves give."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.teach import regression
from edge_agent.teach.gram import BLOCK, Gram, Rows, products
from edge_agent.teach.head import softmax
from edge_agent.teach.moments import rooted
from edge_agent.teach.trial import centre_weights, shares_of
from tests.teach.worlds import World

Result = TypeVar("Result")

WORLD = World(features=96, labels="abc", apart=0.5)
EXAMPLES = WORLD.examples(range(5), 5)  # more than one block, and no whole number of them
TRUTH = np.array(["abc".index(each.label) for each in EXAMPLES], np.intp)
USED = np.array([each.burst != 2 for each in EXAMPLES])


def finished(slices: Generator[None, None, Result]) -> Result:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: Result = end.value
            return result


@pytest.fixture(params=[False, True], ids=["examples", "and frames"])
def case(request: pytest.FixtureRequest) -> tuple[Gram, NDArray[np.float64], NDArray[np.float32]]:
    """The products of a trial, its features centred and of length 1, and its shares."""
    assert len(EXAMPLES) > BLOCK
    features = rooted(np.stack([each.feature for each in EXAMPLES])).astype(np.float64)
    frames = features[::7].mean(axis=0) if request.param else None
    elsewhere = features[:5].mean(axis=0).astype(np.float32)  # a centre that is not that of the trial
    extra = None if frames is None else frames.astype(np.float32)
    rows = Rows([each.feature for each in EXAMPLES], extra, elsewhere)
    every = features if frames is None else np.vstack([features, frames])
    means = [features[USED & (label == TRUTH)].mean(axis=0) for label in range(3)]
    centred = every - np.mean(means if frames is None else [*means, frames], axis=0)
    shares = shares_of(TRUTH, USED, len(every), 3)
    gram = Gram(finished(products(rows)), centre_weights(shares, has_frames=request.param))
    return gram, centred / np.linalg.norm(centred, axis=1, keepdims=True), shares


Case = tuple[Gram, NDArray[np.float64], NDArray[np.float32]]


def test_products_between_unit_rows_are_those_of_the_features(case: Case) -> None:
    gram, units, _ = case
    columns = np.random.default_rng(1).normal(size=(len(units), 4)).astype(np.float32)
    assert gram.times(columns) == pytest.approx(units @ (units.T @ columns), abs=1e-3)


def test_cosines_with_means_are_those_of_the_features(case: Case) -> None:
    gram, units, shares = case
    lengths = 1 / gram.scale.astype(np.float64)
    means = shares.T.astype(np.float64) @ (units * lengths[:, None])
    directions = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert gram.with_directions(shares) == pytest.approx(units @ directions.T, abs=1e-4)


def test_regression_finds_where_its_loss_no_longer_falls(case: Case) -> None:
    gram, units, shares = case
    fitted = finished(regression.coefficients(gram, shares)).astype(np.float64)
    weights, bias = units.T @ fitted, fitted.sum(axis=0)
    weight_of = shares.sum(axis=1, keepdims=True) / 3

    def slopes(weights: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
        wrong = weight_of * (softmax((units @ weights + bias).astype(np.float32)) - (shares > 0))
        of_weights = units.T @ wrong + regression.SHRINKAGE * weights
        return np.vstack([of_weights, wrong.sum(axis=0) + regression.SHRINKAGE * bias])

    start = np.abs(slopes(np.zeros_like(weights), np.zeros_like(bias))).max()
    assert np.abs(slopes(weights, bias)).max() < 0.02 * start
    assert not fitted[: len(EXAMPLES)][~USED].any(), "what was left out has taught something"


def test_a_label_without_examples_is_never_answered() -> None:
    rows = Rows([each.feature for each in EXAMPLES], None, np.zeros(96, np.float32))
    shares = shares_of(TRUTH, TRUTH != 1, len(EXAMPLES), 3)
    gram = Gram(finished(products(rows)), centre_weights(shares, has_frames=False))
    fitted = finished(regression.coefficients(gram, shares))
    found = regression.logits(gram, fitted, np.array([False, True, False]))
    assert set(found.argmax(axis=1)) == {0, 2}

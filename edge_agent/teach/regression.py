"""Logistic regression over unit features, by their products alone.

Labels weigh the same however many examples they have; weights are kept small (L2), the bias among them. A
fixed number of full-batch steps with Nesterov's momentum: nothing is random, and nothing depends on a test
for convergence.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from edge_agent.teach.gram import Gram
from edge_agent.teach.head import softmax
from edge_agent.teach.unknown import Floats

STEPS = 120
SHRINKAGE = 1e-3

_STEP = np.float32(1 / (1 + SHRINKAGE))  # the curvature is at most 1/2 times the square of (unit feature, 1)
_ROOT = float(np.sqrt(_STEP * SHRINKAGE))
_MOMENTUM = np.float32((1 - _ROOT) / (1 + _ROOT))


def coefficients(gram: Gram, shares: Floats) -> Generator[None, None, Floats]:
    """Fit, one step between two yields, and return what each row gives to each label's weights.

    `shares`, shape (rows, labels), is not zero where a row is an example of that label, and adds up to 1 for
    each label; a label without examples is left out. The result has the same shape: the weights of a label
    are the sum of the unit rows times its column, the bias is the sum of the column.
    """
    left_out = np.asarray(~shares.any(axis=0))
    is_mine = shares > 0
    weights = shares.sum(axis=1, keepdims=True) / np.float32((~left_out).sum())
    now = before = np.zeros_like(shares)
    for _ in range(STEPS):
        ahead = now + _MOMENTUM * (now - before)
        wrong = softmax(logits(gram, ahead, left_out))
        wrong -= is_mine
        wrong *= weights
        wrong += np.float32(SHRINKAGE) * ahead
        before, now = now, ahead - _STEP * wrong
        yield
    return now


def logits(gram: Gram, fitted: Floats, left_out: NDArray[np.bool_]) -> Floats:
    """The logits of all rows, shape (rows, labels); labels that are `left_out` cannot win."""
    found = gram.times(fitted)
    found += fitted.sum(axis=0)
    found[:, left_out] = -1e9
    return found

"""The heads that are compared: our own, its two methods each alone, and a Keras-style Dense layer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.teaching.features import Features
from edge_agent.teach import regression
from edge_agent.teach.examples import UNKNOWN, Example, in_order, labels_of
from edge_agent.teach.fitting import fit
from edge_agent.teach.gram import Gram, Rows, products
from edge_agent.teach.head import Answer, Backbone, Head, Taught, softmax
from edge_agent.teach.moments import moments_of
from edge_agent.teach.trial import centre_weights, shares_of, truth_of
from edge_agent.teach.unknown import Floats

EPOCHS = 50
_BATCH = 32
_RATE = 1e-3

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """What a head says of some frames; each of shape (frames,)."""

    best: tuple[str, ...]
    """The best label, known or not."""
    familiar: NDArray[np.float32]
    """How much it is something that was taught: the higher, the more."""
    probabilities: NDArray[np.float32]
    """Of the best label."""
    accepted: NDArray[np.bool_]
    """Where the head itself says the best label, and not `unknown`."""


Judge = Callable[[Features], Verdicts]
Maker = Callable[[Sequence[Example], Backbone], Judge]


def ours(examples: Sequence[Example], backbone: Backbone) -> Judge:
    """The head as the daemon fits and asks it."""
    return of_head(fit(examples, backbone).head)


def of_head(head: Head) -> Judge:
    return lambda features: _verdicts(head, [head.answer(row) for row in features])


def class_means(examples: Sequence[Example], backbone: Backbone) -> Judge:
    """Class means alone; how familiar a frame is, is its cosine with the mean."""
    head = Head(Taught(backbone, moments_of(in_order(examples)), None, None, ""))
    return lambda features: _verdicts(head, [head.answer(row) for row in features])


def regressed(examples: Sequence[Example], backbone: Backbone) -> Judge:
    """Regression alone; how familiar a frame is, is the probability of its label."""
    ordered = in_order(examples)
    labels, truth = labels_of(ordered), truth_of(ordered)

    def judge(features: Features) -> Verdicts:
        every = [*(each.feature for each in ordered), *features]  # the frames teach nothing: their share is 0
        rows = Rows(every, None, np.zeros(backbone.features, np.float32))
        shares = shares_of(truth, np.ones(len(truth), bool), len(truth), len(labels))
        shares = np.vstack([shares, np.zeros((len(features), len(labels)), np.float32)])
        gram = Gram(finished(products(rows)), centre_weights(shares, has_frames=False))
        fitted = finished(regression.coefficients(gram, shares))
        logits = regression.logits(gram, fitted, np.zeros(len(labels), bool))
        return _by_probability(labels, softmax(logits[len(truth) :]))

    return judge


def dense(examples: Sequence[Example], _: Backbone) -> Judge:
    """Keras's Dense(labels, activation="softmax"), fitted by Adam to the features as they are."""
    ordered = in_order(examples)
    labels = labels_of(ordered)
    features = np.stack([each.feature for each in ordered]).astype(np.float32)
    weights, bias = adam(features, truth_of(ordered), len(labels))
    return lambda rows: _by_probability(labels, softmax(rows.astype(np.float32) @ weights + bias))


def adam(features: Floats, truth: NDArray[np.intp], labels: int) -> tuple[Floats, Floats]:
    """Weights, shape (features, labels), and bias by 50 epochs in batches of 32, as Keras does by default."""
    chance = np.random.default_rng(0)
    limit = np.sqrt(6 / (features.shape[1] + labels))  # Glorot's
    inputs = np.hstack([features, np.ones((len(features), 1), np.float32)])
    values = np.vstack(
        [chance.uniform(-limit, limit, (features.shape[1], labels)), np.zeros((1, labels))]
    ).astype(np.float32)
    mean, square = np.zeros_like(values), np.zeros_like(values)
    wanted = np.eye(labels, dtype=np.float32)[truth]
    step = 0
    for _ in range(EPOCHS):
        order = chance.permutation(len(inputs))
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            slope = inputs[some].T @ (softmax(inputs[some] @ values) - wanted[some]) / np.float32(len(some))
            step += 1
            mean += np.float32(0.1) * (slope - mean)
            square += np.float32(0.001) * (slope * slope - square)
            corrected = mean / np.float32(1 - 0.9**step)
            values -= _RATE * corrected / (np.sqrt(square / np.float32(1 - 0.999**step)) + np.float32(1e-7))
    return values[:-1], values[-1]


def finished(slices: Generator[None, None, _Result]) -> _Result:
    """The result of something that is made in slices."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: _Result = end.value
            return result


def _verdicts(head: Head, answers: Sequence[Answer]) -> Verdicts:
    floors = dict(zip(head.labels, head.floors, strict=True))
    return Verdicts(
        tuple(each.best for each in answers),
        np.array([each.likeness - floors[each.best] for each in answers], np.float32),
        np.array([each.probabilities.max() for each in answers], np.float32),
        np.array([each.label != UNKNOWN for each in answers]),
    )


def _by_probability(labels: Sequence[str], probabilities: Floats) -> Verdicts:
    best = probabilities.argmax(axis=1)
    highest = probabilities.max(axis=1)
    return Verdicts(tuple(labels[place] for place in best), highest, highest, highest >= 0.5)


HEADS: dict[str, Maker] = {
    "ours": ours,
    "class means": class_means,
    "regression": regressed,
    "Dense": dense,
}

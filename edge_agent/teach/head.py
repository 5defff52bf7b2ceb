"""A head: says which label a feature has, or that it is none that was ever shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import TeachError
from edge_agent.teach.examples import NONE, UNKNOWN, Feature
from edge_agent.teach.moments import Moment, dot, rooted
from edge_agent.teach.unknown import Floats, Rules, Shown, mean_floors

Method = Literal["means", "regression"]
Why = Literal["", "never seen", "unsure", "none"]

SHARPNESS = np.float32(10.0)
"""What cosines with class means are multiplied by before the softmax."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """The network that the features are of, and how it computes: features of another mean nothing here."""

    sha256: str
    arithmetic: str
    """As `native-fp16`: other rounding, other features."""
    features: int


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A last layer, by regression, over roots of features that are centred and of length 1."""

    weights: NDArray[np.float16]
    """Shape (labels, features)."""
    bias: Floats
    """Shape (labels,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What a head is made of, without the examples: this is what a file of a head holds."""

    backbone: Backbone
    classes: Mapping[str, Moment]
    """In the order of the labels."""
    frames: Moment | None
    """Of frames of this camera that nobody has named, if there are any."""
    layer: Layer | None
    fingerprint: str
    """Of the examples that it was fitted to; empty where they were never together."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.classes)

    @property
    def method(self) -> Method:
        return "regression" if self.layer else "means"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a head says of a feature."""

    label: str
    """The best label, or `unknown`."""
    best: str
    """The best label, known or not."""
    probabilities: Floats
    """Shape (labels,), in the order of the head's labels; they add up to 1."""
    likeness: float
    """How familiar it is, see `unknown`; where no example is here, its cosine with the mean of the label."""
    why: Why
    """Why it is unknown; empty where it is not."""


class Head:
    """Answers for features by what was taught. Not to be changed; many threads may ask."""

    def __init__(self, taught: Taught, shown: Shown | None = None, rules: Rules | None = None) -> None:
        """With `shown`, strangers are recognised by the examples, else by the means."""
        self.taught = taught
        self.labels = taught.labels
        self._shown = shown
        self._rules = rules or Rules()
        centre = centre_of(taught.classes, taught.frames)
        directions = _directions(taught.classes, centre)
        self.centre: Floats = centre.astype(np.float32)
        self.directions: Floats = directions.astype(np.float32)
        self.floors = self._floors(centre, directions)
        """Shape (labels,): what is less like its label is unknown."""
        layer = taught.layer
        self._weights = layer.weights.astype(np.float32) if layer else self.directions * SHARPNESS
        self._bias = layer.bias if layer else np.zeros(len(self.labels), np.float32)

    def answer(self, feature: Feature | Floats) -> Answer:
        """Answer for a feature of shape (features,). Raises TeachError where it is another, or not finite."""
        if feature.shape != self.centre.shape or not np.isfinite(feature).all():
            raise TeachError(f"a feature must be {len(self.centre)} finite numbers")
        root = rooted(feature).astype(np.float32)
        unit = unit_of(root - self.centre)
        logits: Floats = dot(self._weights, unit) + self._bias
        probabilities = softmax(logits)
        best = int(np.argmax(probabilities))
        likeness = self._likeness(root, unit, best)
        why = self._why_unknown(best, float(probabilities[best]), likeness)
        name = self.labels[best]
        return Answer(UNKNOWN if why else name, name, probabilities, likeness, why)

    def _floors(self, centre: NDArray[np.float64], directions: NDArray[np.float64]) -> Floats:
        if self._shown:
            return self._shown.floors
        return mean_floors(self.taught.classes, centre, directions)

    def _likeness(self, root: Floats, unit: Floats, label: int) -> float:
        if self._shown:
            return self._shown.familiarity(root, unit, float(dot(self.centre, unit)))
        return float(dot(self.directions[label], unit))

    def _why_unknown(self, best: int, probability: float, likeness: float) -> Why:
        if likeness < self.floors[best]:
            return "never seen"
        if probability < self._rules.probability:
            return "unsure"
        return "none" if self.labels[best] == NONE else ""


def centre_of(classes: Mapping[str, Moment], frames: Moment | None) -> NDArray[np.float64]:
    """What all frames of the camera have in common, shape (features,): the mean of the means of the labels.

    Frames without a name count as much as one label, however many they are: else a thing that is nearly
    always there would become the centre itself. With a single mean there is nothing to compare, and nothing
    is subtracted.
    """
    means = [moment.mean for moment in (*classes.values(), frames) if moment]
    return sum(means[1:], means[0]) / len(means) if len(means) > 1 else np.zeros_like(means[0])


def unit_of(vector: Floats) -> Floats:
    """The vector with length 1, or as it is where it is nothing but zeros."""
    length = float(np.sqrt(dot(vector, vector)))
    return vector / length if length > 0 else vector


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis."""
    powers: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def _directions(classes: Mapping[str, Moment], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = np.stack([moment.mean - centre for moment in classes.values()])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1.0)
    return rows

"""A head: says which label a feature has, or that it is none that was ever shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import TeachError
from edge_agent.lean_dataclass import dataclass
from edge_agent.teach.examples import NONE, UNKNOWN, Feature
from edge_agent.teach.moments import Moment, dot, rooted
from edge_agent.teach.unknown import Floats, Rules, Shown, mean_floors

Method = Literal["means", "regression"]
Why = Literal["", "never seen", "unsure", "none"]

SHARPNESS = np.float32(10.0)
"""What cosines with class means are multiplied by before the softmax."""


_CLEARLY = 0.2  # of probability: how much more another label than the one that is held must have
_STRANGER = 0.1  # of familiarity: how much less the label that is held may have


@dataclass(frozen=True, slots=True)
class Backbone:
    """The network that the features are of, and how it computes: features of another mean nothing here."""

    sha256: str
    arithmetic: str
    """As `native-fp16`: other rounding, other features."""
    features: int


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A last layer over roots of features that are centred and of length 1: by regression, alone or added
    to what the means say."""

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
    """The best label, known or not; the one that is held where no other is clearly better."""
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
        directions = directions_of(taught.classes, centre)
        self.centre: Floats = centre.astype(np.float32)
        self.floors = shown.floors if shown else mean_floors(taught.classes, centre, directions)
        """Shape (labels,): what is less like its label is unknown."""
        # Where examples and a regression say it all, each frame does without the means.
        self._directions = None if shown and taught.layer else directions.astype(np.float32)

    def answer(self, feature: Feature | Floats, held: str = "") -> Answer:
        """Answer for a feature of shape (features,). Raises TeachError where it is another, or not finite.

        `held` is the label that is published, if there is one. It has hysteresis: another must be clearly
        more probable, and it may itself be a little stranger. So a scene on an edge does not flap.
        """
        if feature.shape != self.centre.shape or not np.isfinite(feature).all():
            raise TeachError(f"a feature must be {len(self.centre)} finite numbers")
        root = rooted(feature).astype(np.float32)
        unit = unit_of(root - self.centre)
        logits = self._logits(unit)
        probabilities = softmax(logits)
        best = self._best(probabilities, held)
        likeness = self._likeness(root, unit, best)
        is_held = self.labels[best] == held
        why = self._why_unknown(best, float(probabilities[best]), likeness, is_held=is_held)
        name = self.labels[best]
        return Answer(UNKNOWN if why else name, name, probabilities, likeness, why)

    @property
    def directions(self) -> Floats:
        """From the centre to the mean of each label, with length 1: shape (labels, features)."""
        if self._directions is not None:
            return self._directions
        centre = centre_of(self.taught.classes, self.taught.frames)
        return directions_of(self.taught.classes, centre).astype(np.float32)

    def _logits(self, unit: Floats) -> Floats:
        layer = self.taught.layer
        if layer is None:
            return dot(self.directions * SHARPNESS, unit)
        return dot(layer.weights.astype(np.float32), unit) + layer.bias

    def _likeness(self, root: Floats, unit: Floats, label: int) -> float:
        if self._shown:
            return self._shown.familiarity(root, self.centre)
        return float(dot(self.directions[label], unit))

    def _best(self, probabilities: Floats, held: str) -> int:
        """The most probable label, or the one that is held where that is not clearly more probable."""
        best = int(np.argmax(probabilities))
        if held in self.labels:
            present = self.labels.index(held)
            if probabilities[best] - probabilities[present] < _CLEARLY:
                return present
        return best

    def _why_unknown(self, best: int, probability: float, likeness: float, *, is_held: bool) -> Why:
        if likeness < self.floors[best] - _STRANGER * is_held:
            return "never seen"
        if probability < self._rules.probability - _CLEARLY / 2 * is_held:
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


def directions_of(classes: Mapping[str, Moment], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the centre to the mean of each label, with length 1: shape (labels, features)."""
    rows = np.stack([moment.mean - centre for moment in classes.values()])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1.0)
    return rows

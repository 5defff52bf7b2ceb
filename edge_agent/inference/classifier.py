"""The classifier: a frame in, its most probable labels out, with the time of each step."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EngineError
from edge_agent.frame import Frame
from edge_agent.inference import Engine, Prediction
from edge_agent.inference.labels import LabelMap
from edge_agent.inference.preprocess import Preprocessor
from edge_agent.model.sidecar import Activation, Artifact


class Classifier:
    """Preprocessing, engine and labels as one step; used by one thread at a time."""

    def __init__(
        self,
        preprocessor: Preprocessor,
        engine: Engine,
        labels: LabelMap,
        activation: Activation = "softmax",
        *,
        temperature: float = 1.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`temperature` divides the logits before they become probabilities; `clock` returns seconds."""
        self._preprocessor = preprocessor
        self._engine = engine
        self._labels = labels
        self._activation = activation
        self._temperature = np.float32(temperature)
        self._clock = clock

    @classmethod
    def from_artifact(cls, artifact: Artifact, engine: Engine, labels: LabelMap | None = None) -> Classifier:
        """Classify as the sidecar says; `labels` are those to publish, the sidecar's own by default."""
        sidecar = artifact.sidecar
        published = labels or LabelMap.compile(sidecar.labels)
        return cls(
            Preprocessor(sidecar.preprocessing),
            engine,
            published,
            sidecar.activation,
            temperature=sidecar.temperature,
        )

    @property
    def engine(self) -> Engine:
        return self._engine

    def use_labels(self, labels: LabelMap) -> None:
        """Publish other labels, starting with the next frame."""
        self._labels = labels

    def classify(self, frame: Frame, k: int = 3) -> Prediction:
        """Return the `k` most probable labels of `frame`.

        `frame.pixels` is RGB, shape (height, width, 3), uint8. Raises EngineError when the engine fails, or
        when its answer is not one finite logit a class.
        """
        started_s = self._clock()
        tensor = self._preprocessor(frame.pixels)
        preprocessed_s = self._clock()
        logits = self._engine.run(tensor)
        inferred_s = self._clock()
        self._check(logits)
        return Prediction(
            top=self._labels.top(probabilities(logits / self._temperature, self._activation), k),
            preprocess_ms=(preprocessed_s - started_s) * 1000,
            infer_ms=(inferred_s - preprocessed_s) * 1000,
            feature=self._engine.features.copy(),
        )

    def _check(self, logits: NDArray[np.float32]) -> None:
        classes = self._labels.group_of_class.size
        if logits.shape != (classes,):
            raise EngineError(
                f"the model answers with scores of shape {logits.shape}, its sidecar lists {classes} labels;"
                " build the model again with the labels that belong to it"
            )
        if not np.isfinite(logits).all():
            raise EngineError(
                "the model answered with scores that are not finite numbers: its weights are damaged, or"
                " overflow in this precision; try `model.precision: fp32`, or build the model again"
            )


def probabilities(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float64]:
    """Return the probabilities, shape (classes,), each 0 to 1, of finite logits."""
    return sigmoid(logits) if activation == "sigmoid" else softmax(logits)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-logit)) for each logit, by the tangent, which cannot overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(logits.astype(np.float64) / 2))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities, shape (classes,), of finite logits: exp(x - max) / sum cannot overflow."""
    raised = np.exp(logits.astype(np.float64) - float(logits.max()))
    return np.asarray(raised / raised.sum())

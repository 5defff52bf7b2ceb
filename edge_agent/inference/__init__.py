"""Inference: a frame in, top-k labels out. This module holds the protocol; importing it loads no engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.lean_dataclass import dataclass

Admit = Callable[[float], None]
"""Is given the MB that a model will take, before it is loaded; raises BudgetError where that is too much."""


def anything(_needed_mb: float) -> None:
    """Let every model in."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The engine and how it computes; published in `info` and in each `state`."""

    engine: str
    """`native`, `xnnpack` or `torchscript`."""
    precision: str
    """The type of the stored weights: `fp16` or `fp32`."""
    arithmetic: str
    """The type that the CPU computes in: `fp16` or `fp32`."""
    threads: int
    library: str
    """The library and its version, for instance `torch 2.10.0` or `libxnnpack.so.0.20241108`."""


class Engine(Protocol):
    """A loaded model of one fixed input shape; used by one thread at a time."""

    @property
    def info(self) -> EngineInfo: ...

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits, shape (classes,), float32, of one normalised picture.

        `tensor` is C-contiguous float32 of shape (1, height, width, 3): NHWC, which every engine reads
        without a copy (it is what torch calls channels_last). The result may be a buffer that the next call
        overwrites.

        Raises EngineError when the library reports a failure.
        """
        ...

    @property
    def features(self) -> NDArray[np.float32]:
        """What the last fully connected layer read in the last `run`: shape (features,), float32.

        Where it reads a picture, pixel by pixel. Empty for a network that cannot be taught: see
        `Plan.why_not_taught`. From the first `run` on its size does not change. The result may be a buffer
        that the next `run` overwrites.

        Raises EngineError when the engine is closed.
        """
        ...

    def close(self) -> None:
        """Free the model. A second call does nothing; `run` must not be called any more."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that can do with a part of its weights at a time."""

    @property
    def can_stream(self) -> bool:
        """Whether `stream` would save memory."""
        ...

    def stream(self) -> None:
        """Keep less of the weights in memory, from the next picture on, at the price of time."""
        ...


@dataclass(frozen=True, slots=True)
class Score:
    """One label of a prediction; `score` is its probability, 0 to 1."""

    label: str
    index: int
    score: float


NO_FEATURE: NDArray[np.float32] = np.empty(0, np.float32)
"""The feature of a network that cannot be taught."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable labels of one frame, best first, and the time that each step took."""

    top: tuple[Score, ...]
    preprocess_ms: float
    infer_ms: float
    feature: NDArray[np.float32] = field(default_factory=lambda: NO_FEATURE, compare=False, repr=False)
    """What a taught head answers for: a copy of the engine's `features`."""

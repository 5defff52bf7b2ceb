"""The task of a measuring process and its reading: both travel as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from edge_agent.system.json_reader import parse, read


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement, for one fresh process."""

    loader: str
    """`module:function`; called with the task it returns an `edge_agent.inference.Engine`."""
    model: str
    """The model directory."""
    pictures: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    """For the loader."""
    imports: tuple[str, ...] = ()
    """Modules to import first, so that their memory is measured too."""
    frames: int = 30
    """How many inferences are timed at most."""
    warmup: int = 3
    longest_s: float = 60.0
    """No further inference begins after this time."""
    trims: bool = False
    """Whether memory is kept low as in the agent: by allocator settings, and a trim before measuring."""
    probabilities: str = ""
    """A .npy file for the probabilities of all pictures, shape (pictures, classes); empty for none."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return read(cls, parse(text))


@dataclass(frozen=True, slots=True)
class Reading:
    """One process's figures about itself. Latencies are those of `Engine.run` alone."""

    library: str
    arithmetic: str
    threads: int
    load_s: float
    """From before the library is imported until the engine is ready to run."""
    latencies_ms: tuple[float, ...]
    base_mb: float
    """Resident memory before the engine was loaded."""
    steady_mb: float
    """Resident memory after the frames; where the task trims, after a trim and some more frames."""
    untrimmed_mb: float
    anon_mb: float
    file_mb: float
    peak_mb: float
    faults_per_frame: float
    """Page faults that needed no disk, for each timed inference."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return read(cls, parse(text))


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """The reason why a process could not measure."""

    reason: str

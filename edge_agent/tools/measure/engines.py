"""Loads one of the agent's own engines for a measuring process."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from edge_agent.inference import Engine
from edge_agent.inference.choice import load_engine
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import EngineName, read_sidecar
from edge_agent.tools.measure.task import Task


def load(task: Task) -> Engine:
    """The engine, precision, threads, cores and arithmetic that the task's options name."""
    options = task.options
    return load_engine(
        read_sidecar(Path(task.model)),
        cast(EngineName, options["engine"]),
        cast(Precision, options["precision"]),
        threads=int(options["threads"]),
        affinity=tuple(int(core) for core in options.get("affinity", "").split(",") if core),
        arithmetic=cast(Precision, options.get("arithmetic", "fp32")),
    )

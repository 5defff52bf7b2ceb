"""Loads one of the agent's own engines for a measuring process."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from edge_agent.inference import Engine, EngineName, Precision
from edge_agent.inference.choice import Choice, load_engine
from edge_agent.model.sidecar import read_sidecar
from edge_agent.tools.measure.task import Task


def load(task: Task) -> Engine:
    """The engine, precision, threads and cores that the task's options name."""
    choice = Choice(
        engine=cast(EngineName, task.options["engine"]),
        precision=cast(Precision, task.options["precision"]),
        threads=int(task.options["threads"]),
        source="configured",
        reason="to be measured",
    )
    affinity = tuple(int(core) for core in task.options.get("affinity", "").split(",") if core)
    return load_engine(choice, read_sidecar(Path(task.model)), affinity)

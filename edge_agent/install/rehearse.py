"""Runs a model on one picture in a process of its own, where the memory budget leaves room for that.

It reads a `Rehearsal` as JSON from its standard input, and writes what became of it, as JSON, to its output.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from edge_agent.errors import BudgetError, EdgeAgentError
from edge_agent.inference.choice import load_engine
from edge_agent.inference.labels import LabelMap
from edge_agent.install.canary import sing
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.procfs import read_memory
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import EngineName, check_whole, read_sidecar


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is to be run, and how: as the agent would."""

    model: str
    """The model's directory."""
    engine: EngineName
    precision: Precision
    threads: int
    arithmetic: Precision
    picture: str
    room_mb: float
    """What this process may take."""


def rehearse(wanted: Rehearsal) -> dict[str, Any]:
    """Returns `said`, or `skipped` with why. Raises EdgeAgentError where the model cannot be used."""

    def admit(needed_mb: float) -> None:
        total_mb = read_memory().rss_mb + needed_mb
        if total_mb > wanted.room_mb:
            raise BudgetError(
                f"{total_mb:.0f} MB are needed beside the agent, and {wanted.room_mb:.0f} are left"
            )

    artifact = read_sidecar(Path(wanted.model))
    check_whole(artifact)
    try:
        engine = load_engine(
            artifact,
            wanted.engine,
            wanted.precision,
            threads=wanted.threads,
            arithmetic=wanted.arithmetic,
            room_mb=wanted.room_mb - read_memory().rss_mb,
            admit=admit,
        )
    except BudgetError as error:
        return {"skipped": str(error)}
    with closing(engine):
        (sung,) = sing(artifact, engine, LabelMap.compile(artifact.sidecar.labels), [Path(wanted.picture)])
    return {"said": str(sung)}


def main() -> int:
    """Carry out what standard input asks for; the result is JSON on standard output."""
    wanted = Rehearsal(**json.load(sys.stdin))
    with suppress(OSError):  # the unit may forbid it
        os.nice(10)
    try:
        result = rehearse(wanted)
    except EdgeAgentError as error:
        result = {"error": str(error)}
    with suppress(OSError):  # the agent may have ended
        os.write(sys.stdout.fileno(), json.dumps(result).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

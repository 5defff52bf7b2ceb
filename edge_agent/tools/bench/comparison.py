"""Runs the rows of a bench and puts the result together."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import datetime

from edge_agent.inference.host import Host
from edge_agent.system.board import Board
from edge_agent.tools import Report
from edge_agent.tools.bench.result import BenchResult, Machine, RowResult
from edge_agent.tools.bench.rows import BenchSetup, RowSpec
from edge_agent.tools.measure.runs import Agreement, TaskOutcome, TaskResult, agreement, run_interleaved
from edge_agent.tools.measure.task import TaskFailure


@dataclass(frozen=True, slots=True)
class Bench:
    """The rows to measure, their setup, and the number of rounds."""

    rows: tuple[RowSpec, ...]
    setup: BenchSetup
    repeats: int


def run_bench(bench: Bench, host: Host, created: datetime, report: Report) -> BenchResult:
    """Measure every row, in rounds; answers are compared with those of the first row that can be run."""
    tasks = [(row.name, row.task) for row in bench.rows if row.task is not None]
    outcomes = run_interleaved(tasks, bench.repeats, report)
    real = [row.name for row in bench.rows if row.has_real_weights]
    reference = next((name for name in real if isinstance(outcomes.get(name), TaskResult)), "nothing")
    sidecar = bench.setup.artifact.sidecar
    return BenchResult(
        created=created,
        machine=this_machine(host),
        model=sidecar.name,
        model_sha256=sidecar.sha256,
        weights=f"weights: {sidecar.weights.source}",
        reference=reference,
        pictures=len(bench.setup.pictures),
        repeats=bench.repeats,
        frames=bench.setup.frames,
        rows=tuple(_row(row, outcomes, reference) for row in bench.rows),
        pictures_skipped=bench.setup.pictures_skipped,
    )


def this_machine(host: Host) -> Machine:
    """Describe the machine that the figures were measured on."""
    torch = f"torch {host.torch}" if host.torch else ""
    system = os.uname()
    return Machine(
        board=Board().model(),
        cpu=host.cpu.name,
        cores=host.usable_cores,
        system=f"{system.sysname} {system.release} {system.machine}",
        python=platform.python_version(),
        libraries=tuple(name for name in (torch, host.xnnpack) if name),
    )


def _row(spec: RowSpec, outcomes: dict[str, TaskOutcome], reference: str) -> RowResult:
    outcome = outcomes.get(spec.name, TaskFailure(spec.absent))
    if isinstance(outcome, TaskFailure):
        return RowResult(spec.name, spec.artifact_mb, None, None, outcome.reason, spec.note)
    compared = _agreement(outcome, outcomes.get(reference)) if spec.has_real_weights else None
    return RowResult(spec.name, spec.artifact_mb, outcome.summary, compared, "", spec.note)


def _agreement(outcome: TaskResult, reference: TaskOutcome | None) -> Agreement | None:
    if not isinstance(reference, TaskResult):
        return None
    return agreement(outcome.probabilities, reference.probabilities)

"""Starts measuring processes one after the other, and makes one summary of several runs."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.system.child import python_module
from edge_agent.tools import Report
from edge_agent.tools.measure.task import Reading, Task, TaskFailure

_LONGEST_REASON = 300

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FigureSummary:
    """One figure over several runs."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Several runs of one task."""

    library: str
    arithmetic: str
    threads: int
    runs: int
    load_s: FigureSummary
    latency_p50_ms: FigureSummary
    latency_p95_ms: FigureSummary
    steady_mb: FigureSummary
    untrimmed_mb: FigureSummary
    anon_mb: FigureSummary
    file_mb: FigureSummary
    peak_mb: FigureSummary
    faults_per_frame: FigureSummary


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The summary of several runs of one task, and its answers to the pictures."""

    summary: Summary
    probabilities: Probabilities
    """Shape (pictures, classes), float32, 0 to 1."""


TaskOutcome = TaskResult | TaskFailure


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far probabilities, shape (pictures, classes), are from those of a reference."""

    pictures: int
    top1: float
    """Share of the pictures with the same first label, 0 to 1."""
    largest_error: float
    """Largest difference of one probability."""


def run_interleaved(
    tasks: Sequence[tuple[str, Task]], repeats: int, report: Report, timeout_s: float = 900.0
) -> dict[str, TaskOutcome]:
    """Run each named task `repeats` times, in rounds, so that a machine that slows down slows all of them.

    Only the first round computes the probabilities of all pictures. A task that fails is not tried again.
    """
    readings: dict[str, list[Reading]] = {name: [] for name, _ in tasks}
    failures: dict[str, TaskFailure] = {}
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        matrices = {name: Path(directory) / f"{i}.npy" for i, (name, _) in enumerate(tasks)}
        for round_number in range(repeats):
            for name, task in tasks:
                if name in failures:
                    continue
                report(f"round {round_number + 1} of {repeats}: {name}")
                matrix = str(matrices[name]) if round_number == 0 else ""
                answer = run_task(replace(task, probabilities=matrix), timeout_s)
                if isinstance(answer, TaskFailure):
                    failures[name] = answer
                else:
                    readings[name].append(answer)
        return {
            name: failures.get(name) or TaskResult(summarise(readings[name]), np.load(matrices[name]))
            for name, _ in tasks
        }


def run_task(task: Task, timeout_s: float) -> Reading | TaskFailure:
    """Carry one task out in a fresh process of this Python."""
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        answer = Path(directory) / "reading.json"
        command = python_module("edge_agent.tools.measure.child", str(answer))
        try:
            done = subprocess.run(
                command, input=task.to_json(), capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return TaskFailure(f"took longer than {timeout_s:.0f} s")
        if done.returncode != 0 or not answer.is_file():
            return TaskFailure(_reason(done.returncode, done.stderr))
        return Reading.from_json(answer.read_text(encoding="utf-8"))


def summarise(readings: Sequence[Reading]) -> Summary:
    """Medians, and the spread between the runs. Raises ValueError without a reading."""
    return Summary(
        library=readings[0].library,
        arithmetic=readings[0].arithmetic,
        threads=readings[0].threads,
        runs=len(readings),
        load_s=_figure([r.load_s for r in readings]),
        latency_p50_ms=_figure([statistics.median_low(r.latencies_ms) for r in readings]),
        latency_p95_ms=_figure([_p95(r.latencies_ms) for r in readings]),
        steady_mb=_figure([r.steady_mb for r in readings]),
        untrimmed_mb=_figure([r.untrimmed_mb for r in readings]),
        anon_mb=_figure([r.anon_mb for r in readings]),
        file_mb=_figure([r.file_mb for r in readings]),
        peak_mb=_figure([r.peak_mb for r in readings]),
        faults_per_frame=_figure([r.faults_per_frame for r in readings]),
    )


def agreement(found: Probabilities, reference: Probabilities) -> Agreement:
    """Compare two matrices of shape (pictures, classes), on the pictures that both have.

    One of them may have fewer, because its time ran out.
    """
    pictures = min(len(found), len(reference))
    ours, theirs = found[:pictures], reference[:pictures]
    same = _first_labels(ours) == _first_labels(theirs)
    return Agreement(pictures, float(same.mean()), float(np.abs(ours - theirs).max()))


def _first_labels(rows: Probabilities) -> NDArray[np.intp]:
    """The place of each picture's first label; of one label, whether it is more likely than not."""
    return rows.argmax(axis=1) if rows.shape[1] > 1 else (rows[:, 0] > 0.5).astype(np.intp)


def _figure(values: Sequence[float]) -> FigureSummary:
    return FigureSummary(statistics.median_low(values), min(values), max(values))


def _p95(values: Sequence[float]) -> float:
    """The smallest value that at least 95 % of `values` do not exceed."""
    return float(np.percentile(values, 95, method="inverted_cdf"))


def _reason(returncode: int, stderr: str) -> str:
    """The last line of standard error, which is the error itself where there is a traceback."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else "no message"
    how = f"killed by signal {-returncode}: " if returncode < 0 else ""
    return (how + last.removeprefix("edge_agent.errors."))[:_LONGEST_REASON]

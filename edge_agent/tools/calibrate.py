"""Measures every way to run the model here, engine by thread count by cores, and compares their answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from edge_agent.errors import EngineError
from edge_agent.inference import evidence
from edge_agent.inference.choice import arithmetics, evidence_key, runnable
from edge_agent.inference.evidence import Calibration, Evidence, describe_threads, describe_way
from edge_agent.inference.host import Host
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import Artifact, EngineName
from edge_agent.tools import Report
from edge_agent.tools.measure.runs import Probabilities, TaskResult, agreement, run_interleaved
from edge_agent.tools.measure.task import Task, TaskFailure

ENGINE_LOADER = "edge_agent.tools.measure.engines:load"
# A measuring process imports these first, so that its memory is comparable with the daemon's.
DAEMON_MODULES = ("edge_agent.daemon.agent",)
_MOST_EXACT_FIRST: tuple[tuple[EngineName, Precision], ...] = (
    ("torchscript", "fp32"),
    ("xnnpack", "fp32"),
    ("native", "fp32"),
    ("torchscript", "fp16"),
    ("xnnpack", "fp16"),
    ("native", "fp16"),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the model."""

    engine: EngineName
    precision: Precision
    threads: int
    affinity: tuple[int, ...] = ()
    """The cores to run on; empty for all."""
    arithmetic: Precision = "fp32"
    """The native engine's."""

    @property
    def name(self) -> str:
        way = describe_way(self.engine, self.precision, self.arithmetic)
        return f"{way}, {describe_threads(self.threads, self.affinity)}"


def thread_counts(cores: int, most: int) -> tuple[int, ...]:
    """Powers of two below `most` (or `cores`, where those are fewer), and that number itself: 1, 2, 4."""
    largest = max(1, min(cores, most))
    return tuple(sorted({2**i for i in range(largest.bit_length()) if 2**i < largest} | {largest}))


def candidates(artifact: Artifact, host: Host, threads: Sequence[int]) -> tuple[Candidate, ...]:
    """Every way that can run here: on all cores and, where some are faster, also on those alone.

    The native engine is there in each arithmetic that it has here.
    """
    return tuple(
        Candidate(engine, precision, count, cores, arithmetic)
        for engine, precision in runnable(artifact.sidecar, host)
        for arithmetic in arithmetics(engine, precision, host)
        for count in threads
        for cores in _core_sets(host, count)
    )


def _core_sets(host: Host, threads: int) -> Iterator[tuple[int, ...]]:
    yield ()
    if threads <= len(host.fastest_cores):
        yield host.fastest_cores


def calibrate(
    artifact: Artifact,
    host: Host,
    ways: Sequence[Candidate],
    pictures: Sequence[str],
    *,
    repeats: int,
    frames: int,
    created: datetime,
    report: Report,
) -> Calibration:
    """Measure each way in fresh processes, in rounds.

    Agreement is with the most exact way that could be measured: torchscript fp32 where torch is installed.
    Raises EngineError when nothing could be measured.
    """
    tasks = [(way.name, _task(artifact, way, pictures, frames)) for way in ways]
    outcomes = run_interleaved(tasks, repeats, report)
    measured = {way: found for way in ways if isinstance(found := outcomes[way.name], TaskResult)}
    failures = {way: found for way in ways if isinstance(found := outcomes[way.name], TaskFailure)}
    if not measured:
        reasons = "; ".join(f"{way.name}: {failure.reason}" for way, failure in failures.items())
        raise EngineError(
            f"nothing could be measured: {reasons or 'the model has no files for an engine here'}"
        )
    exact = min(
        measured,
        key=lambda way: (_MOST_EXACT_FIRST.index((way.engine, way.precision)), way.arithmetic == "fp16"),
    )
    answers = measured[exact].probabilities
    return Calibration(
        key=evidence_key(artifact.sidecar, host),
        created=created,
        pictures=len(answers),
        reference=describe_way(exact.engine, exact.precision, exact.arithmetic),
        measurements=tuple(_measurement(way, found, answers) for way, found in measured.items()),
        failures=tuple(evidence.Failure(way.engine, way.precision, f.reason) for way, f in failures.items()),
    )


def _task(artifact: Artifact, way: Candidate, pictures: Sequence[str], frames: int) -> Task:
    return Task(
        loader=ENGINE_LOADER,
        model=str(artifact.directory),
        pictures=tuple(pictures),
        options={
            "engine": way.engine,
            "precision": way.precision,
            "threads": str(way.threads),
            "affinity": ",".join(map(str, way.affinity)),
            "arithmetic": way.arithmetic,
        },
        imports=DAEMON_MODULES,
        frames=frames,
        trims=True,
    )


def _measurement(way: Candidate, found: TaskResult, exact: Probabilities) -> Evidence:
    compared = agreement(found.probabilities, exact)
    summary = found.summary
    return Evidence(
        engine=way.engine,
        precision=way.precision,
        threads=way.threads,
        arithmetic=summary.arithmetic,
        library=summary.library,
        runs=summary.runs,
        load_s=summary.load_s.median,
        latency_p50_ms=summary.latency_p50_ms.median,
        latency_p95_ms=summary.latency_p95_ms.median,
        steady_mb=summary.steady_mb.median,
        peak_mb=summary.peak_mb.median,
        agreement=compared.top1,
        largest_probability_error=compared.largest_error,
        affinity=way.affinity,
    )

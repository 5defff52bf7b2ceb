"""Calibration for real: engines measured in processes of their own, their answers compared."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.config.schema import ModelConfig
from edge_agent.errors import BudgetError, EngineError
from edge_agent.inference.choice import choose
from edge_agent.inference.evidence import Calibration
from edge_agent.inference.host import Host, read_host
from edge_agent.memory.limits import BudgetLimits
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.calibrate import ENGINE_LOADER, Candidate, calibrate, candidates, thread_counts
from edge_agent.tools.measure.pictures import measured_pictures
from edge_agent.tools.measure.runs import run_task
from edge_agent.tools.measure.task import Reading, Task
from tests.installed import needs_xnnpack

_PICTURES = measured_pictures(None)
PINNED = Candidate("xnnpack", "fp16", 1, (min(os.sched_getaffinity(0)),))


@pytest.fixture(scope="module")
def host() -> Host:
    return read_host()


@pytest.fixture(scope="module")
def found(lite0: Artifact, host: Host) -> Calibration:
    """Every engine and precision on one thread, and one way that cannot work."""
    ways = (*candidates(lite0, host, [1]), Candidate("xnnpack", "fp16", 1000), PINNED)
    return calibrate(
        lite0,
        host,
        ways,
        _PICTURES,
        repeats=1,
        frames=3,
        created=datetime(2025, 6, 1, tzinfo=UTC),
        report=lambda _: None,
    )


@needs_xnnpack
def test_every_way_is_measured_and_agrees_with_fp32(found: Calibration, lite0: Artifact, host: Host) -> None:
    assert [(m.engine, m.precision) for m in found.measurements] == [
        (way.engine, way.precision) for way in (*candidates(lite0, host, [1]), PINNED)
    ]
    assert found.measurements[-1].affinity == PINNED.affinity
    for measurement in found.measurements:
        assert measurement.agreement == 1
        assert measurement.largest_probability_error < 0.02
        assert 20 < measurement.steady_mb <= measurement.peak_mb
        assert measurement.latency_p50_ms <= measurement.latency_p95_ms


def test_the_most_exact_way_is_the_reference(found: Calibration, host: Host) -> None:
    assert found.reference == ("torchscript fp32" if host.torch else "xnnpack fp32")
    assert found.pictures == len(_PICTURES)


@needs_xnnpack
def test_a_way_that_fails_is_reported_and_hinders_no_other(found: Calibration) -> None:
    (failure,) = found.failures
    assert (failure.engine, failure.precision) == ("xnnpack", "fp16")
    assert "1000 threads" in failure.reason


def test_the_lean_engine_needs_far_less_memory_than_torch(found: Calibration) -> None:
    lean = [m.steady_mb for m in found.measurements if m.engine in ("native", "xnnpack")]
    torch = [m.steady_mb for m in found.measurements if m.engine == "torchscript"]
    if not (lean and torch):
        pytest.skip("only one of the engines can run here")
    assert 2 * max(lean) < min(torch)


def test_a_budget_that_only_the_lean_engine_fits_gets_it(
    found: Calibration, lite0: Artifact, host: Host
) -> None:
    lean = [m for m in found.measurements if m.engine in ("native", "xnnpack")]
    if not lean:
        pytest.skip("there are neither native kernels nor libXNNPACK here")
    budget_mb = max(m.steady_mb for m in lean) / 0.85
    choice = choose(ModelConfig(), BudgetLimits(budget_mb, 0.9 * budget_mb), lite0.sidecar, host, found)
    assert choice.engine in ("native", "xnnpack")


def test_a_budget_below_every_floor_is_refused(found: Calibration, lite0: Artifact, host: Host) -> None:
    with pytest.raises(BudgetError, match="set it to"):
        choose(ModelConfig(), BudgetLimits(20, 18), lite0.sidecar, host, found)


def test_where_nothing_can_be_measured_every_reason_is_given(
    lite0: Artifact, host: Host, tmp_path: Path
) -> None:
    broken = replace(lite0, directory=tmp_path)
    with pytest.raises(EngineError, match=r"xnnpack fp16, 1 thread: .*model\.json"):
        calibrate(
            broken,
            host,
            [Candidate("xnnpack", "fp16", 1)],
            _PICTURES,
            repeats=1,
            frames=1,
            created=datetime.now(UTC),
            report=lambda _: None,
        )


def test_a_reading_holds_what_one_process_measured_of_itself(lite0: Artifact, host: Host) -> None:
    engine, precision = candidates(lite0, host, [1])[0].engine, "fp16"
    options = {"engine": engine, "precision": precision, "threads": "1"}
    task = Task(
        ENGINE_LOADER,
        str(lite0.directory),
        _PICTURES[:1],
        options,
        frames=4,
        trims=True,
    )
    reading = run_task(task, timeout_s=120)
    assert isinstance(reading, Reading)
    assert len(reading.latencies_ms) == 4
    assert max(reading.base_mb, reading.steady_mb) <= reading.peak_mb
    assert reading.steady_mb > reading.base_mb - 5  # trimming may give back more than a small model takes
    assert reading.anon_mb + reading.file_mb == pytest.approx(reading.steady_mb, abs=3)


@needs_xnnpack
def test_unequal_cores_are_measured_all_together_and_the_fast_ones_alone(lite0: Artifact, host: Host) -> None:
    unequal = replace(host, fastest_cores=(4, 5))
    ways = [way for way in candidates(lite0, unequal, [1, 2, 4]) if way.engine == "xnnpack"]
    assert [(way.threads, way.affinity) for way in ways if way.precision == "fp16"] == [
        (1, ()),
        (1, (4, 5)),
        (2, ()),
        (2, (4, 5)),
        (4, ()),
    ]


def test_equal_cores_are_measured_together_only(lite0: Artifact, host: Host) -> None:
    equal = replace(host, fastest_cores=())
    assert {way.affinity for way in candidates(lite0, equal, [1, 2])} == {()}


@pytest.mark.parametrize(
    ("cores", "most", "counts"),
    [(1, 4, (1,)), (2, 4, (1, 2)), (3, 4, (1, 2, 3)), (4, 4, (1, 2, 4)), (16, 4, (1, 2, 4))],
)
def test_thread_counts_grow_by_powers_of_two(cores: int, most: int, counts: tuple[int, ...]) -> None:
    assert thread_counts(cores, most) == counts


def test_fp16_arithmetic_is_measured_beside_fp32_where_the_cpu_has_it(lite0: Artifact, host: Host) -> None:
    board = replace(host, native="kernels, NEON", native_fp16="kernels, ARMv8.2 FP16")
    ways = [way for way in candidates(lite0, board, [1]) if way.engine == "native"]
    assert {(way.precision, way.arithmetic) for way in ways} == {
        ("fp16", "fp32"),
        ("fp16", "fp16"),
        ("fp32", "fp32"),
    }
    assert len({way.name for way in ways}) == len(ways)

"""A bench result made of figures that are given."""

from __future__ import annotations

from datetime import UTC, datetime

from edge_agent.tools.bench.result import BenchResult, Machine, RowResult
from edge_agent.tools.measure.runs import Agreement, FigureSummary, Summary


def _same(value: float) -> FigureSummary:
    return FigureSummary(value, value, value)


def row(name: str, steady_mb: float, latency_ms: float, top1: float = 1.0) -> RowResult:
    some = _same(1.0)
    summary = Summary(
        library="lib 1",
        arithmetic="fp32",
        threads=2,
        runs=3,
        load_s=_same(0.25),
        latency_p50_ms=_same(latency_ms),
        latency_p95_ms=_same(latency_ms * 1.1),
        steady_mb=_same(steady_mb),
        untrimmed_mb=_same(steady_mb),
        anon_mb=some,
        file_mb=some,
        peak_mb=_same(steady_mb * 1.2),
        faults_per_frame=some,
    )
    return RowResult(name, 22.4, summary, Agreement(9, top1, 1.5e-4))


EAGER = row("eager FP32", 690, 72)
HALF = row("naive <half> & more", 275, 3058)
LEAN = row("native FP16", 87, 81)
ABSENT = RowResult("LiteRT", None, None, None, absent="ai-edge-litert is not installed")
RESULT = BenchResult(
    created=datetime(2025, 6, 1, tzinfo=UTC),
    machine=Machine("Raspberry Pi 5", "Cortex-A76", 4, "Linux 6.12 aarch64", "3.13.1", ("torch 2.10.0",)),
    model="resnet18",
    model_sha256="abc",
    weights="weights: seeded",
    reference="eager FP32",
    pictures=9,
    repeats=3,
    frames=30,
    rows=(EAGER, HALF, LEAN, ABSENT),
)

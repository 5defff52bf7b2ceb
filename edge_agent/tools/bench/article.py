"""The methods of the article that this project answers, measured here beside what it claims for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.inference.host import Host
from edge_agent.tools.bench.markdown import figure
from edge_agent.tools.bench.result import BenchResult
from edge_agent.tools.bench.rows import (
    EAGER,
    EAGER_HALF,
    NAIVE_HALF,
    TORCHSCRIPT,
    BenchSetup,
    RowSpec,
    eager_half_row,
    standard_rows,
)
from edge_agent.tools.measure.runs import Summary
from edge_agent.tools.measure.table import table
from edge_agent.tools.train.probe import Probe

BATCH = 32
_OURS = "native FP16"
_HEADER = ("method", "the article", "here, MB", "here, time")


@dataclass(frozen=True, slots=True)
class _Claim:
    row: str
    method: str
    claim: str


_CLAIMS = (
    _Claim(EAGER, "none: eager FP32", "320 MB"),
    _Claim(TORCHSCRIPT, "1. TorchScript", "210 MB"),
    _Claim(EAGER_HALF, "3. FP16, by `.half()`", "180 MB"),
    _Claim(NAIVE_HALF, "1 and 3: TorchScript with FP16", "under 170 MB"),
    _Claim(_OURS, "**this project: native engine, FP16 weights**", ""),
)


def article_rows(host: Host, setup: BenchSetup) -> tuple[RowSpec, ...]:
    """The rows that answer the article's methods of running a network."""
    wanted = {claim.row for claim in _CLAIMS}
    rows = (*standard_rows(host, setup), eager_half_row(setup))
    return tuple(row for row in rows if row.name in wanted)


def article_table(result: BenchResult, plain: Probe, blocks: Probe) -> str:
    """The comparison as Markdown: steady resident memory and a frame's time; of training, peak and step."""
    found = {row.name: row for row in result.rows}
    rows = [_cells(claim, found[claim.row].summary) for claim in _CLAIMS]
    above = (blocks.peak_mb - blocks.idle_mb) / (plain.peak_mb - plain.idle_mb)
    more = blocks.step_s / plain.step_s - 1
    rows.append((f"none: training, batch {BATCH}", "1.8 GB", f"{plain.peak_mb:.0f}", f"{plain.step_s:.2f} s"))
    rows.append(
        (
            "2. gradient checkpointing (`--checkpoint blocks`)",
            "1.1 GB, 10 to 15 % slower",
            f"{blocks.peak_mb:.0f}; above the idle process {above:.0%} of plain",
            f"{blocks.step_s:.2f} s, {more:+.0%}",
        )
    )
    absent = "".join(f"\n- {row.name}: not measured: {row.absent}" for row in result.rows if row.absent)
    return f"{table(_HEADER, rows)}\n{absent}\n"


def _cells(claim: _Claim, summary: Summary | None) -> Sequence[str]:
    if summary is None:
        return (claim.method, claim.claim, "not measured", "")
    time = f"{figure(summary.latency_p50_ms)} ms"
    return (claim.method, claim.claim, figure(summary.steady_mb), time)

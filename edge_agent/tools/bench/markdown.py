"""The bench as Markdown: the table, what it means, and the frontier."""

from __future__ import annotations

from edge_agent.tools.bench.result import BenchResult, RowResult, frontier
from edge_agent.tools.measure.runs import FigureSummary, Summary
from edge_agent.tools.measure.table import table

_HEADER = (
    "what runs",
    "artifact MB",
    "load s",
    "p50 ms",
    "p95 ms",
    "peak MB",
    "steady MB",
    "top-1 agreement",
    "largest \u0394p",
)


def markdown(result: BenchResult) -> str:
    """The whole report."""
    parts = [_title(result), _table(result), _notes(result), _frontier(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def figure(value: FigureSummary) -> str:
    """Three digits: `84.1`, or `84.1 (83.0-87.2)` where the runs differ visibly."""
    digits = _decimals(value.median)
    middle, low, high = (f"{number:.{digits}f}" for number in (value.median, value.lowest, value.highest))
    return middle if low == high else f"{middle} ({low}-{high})"


def _title(result: BenchResult) -> str:
    machine = result.machine
    where = ", ".join(part for part in (machine.board, machine.cpu, f"{machine.cores} cores") if part)
    return (
        f"**{result.model}** ({result.weights}) on {where}; {machine.system}, Python {machine.python},"
        f" {', '.join(machine.libraries)}; {result.created:%Y-%m-%d}.\n"
        f"Each row in fresh processes, {result.repeats} rounds of {result.frames} frames, rows interleaved:"
        " median of the rounds (lowest-highest)."
        + f" {result.pictures_skipped} pictures could not be read."
        * bool(result.pictures_skipped)
    )


def _table(result: BenchResult) -> str:
    return table(_HEADER, (_cells(row) for row in result.rows))


def _cells(row: RowResult) -> list[str]:
    size = "" if row.artifact_mb is None else f"{row.artifact_mb:.1f}"
    if row.summary is None:
        return [row.name, size, *[""] * 5, "not measured", ""]
    return [row.name, size, *_figures(row.summary), *_agreement(row)]


def _figures(summary: Summary) -> list[str]:
    return [
        figure(summary.load_s),
        figure(summary.latency_p50_ms),
        figure(summary.latency_p95_ms),
        figure(summary.peak_mb),
        figure(summary.steady_mb),
    ]


def _agreement(row: RowResult) -> list[str]:
    if row.agreement is None:
        return ["", ""]
    found = row.agreement
    return [f"{found.top1:.1%} of {found.pictures}", f"{found.largest_error:.1e}"]


def _notes(result: BenchResult) -> str:
    lines = [f"- {row.name}: not measured: {row.absent}" for row in result.rows if row.absent]
    lines += [f"- {row.name}: {row.note}" for row in result.rows if row.note]
    lines.append(
        f"- Agreement is with {result.reference}. Memory is resident memory in MiB, from /proc; the latency"
        " is that of the network alone."
    )
    return "\n".join(lines)


def _frontier(result: BenchResult) -> str:
    """The rows of the frontier: the speed that more memory buys."""
    best = frontier(result.measured)
    if not best:
        return ""
    rows = [
        [row.name, f"{summary.steady_mb.median:.0f}", f"{summary.latency_p50_ms.median:.1f}"]
        for row, summary in best
    ]
    return "The frontier (no other row is both leaner and faster):\n\n" + table(
        ("what runs", "steady MB", "p50 ms"), rows
    )


def _decimals(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 2

"""The bench as an SVG picture, drawn by matplotlib: memory as bars, and latency against memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from edge_agent.errors import UsageError
from edge_agent.tools.bench.result import BenchResult, RowResult, frontier

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: dict[Any, object] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, and set in the reader's own font
    "svg.hashsalt": "edge-agent",  # the same figures give the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "grid.color": "#e3e8ec",
}
_FAINT, _PEAK, _FRONTIER = "#65737e", "#d5dce2", "#d1495b"
_LEAN, _OTHER = "#0b7a75", "#9aa9b5"
_WIDTH_IN, _BARS_IN, _BAR_IN, _SCATTER_IN = 9.6, 1.4, 0.36, 4.6
_LABEL_WIDTH, _LABEL_HEIGHT = 150, 12
"""The room that a point's label needs, in points."""


def require_matplotlib() -> None:
    """Raise UsageError, which says how to install it, where matplotlib cannot be imported."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--svg: the chart needs matplotlib, which cannot be imported ({error}):"
            " pip install 'edge-agent[bench]'"
        ) from error


def svg(result: BenchResult) -> str:
    """Draw the rows that could be measured; returns a whole SVG document. Needs matplotlib."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    heights = (_BARS_IN + _BAR_IN * len(result.measured), _SCATTER_IN)
    document = io.StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_IN, sum(heights)), dpi=72, layout="constrained")
        figure.suptitle(f"{result.model}: memory and latency\n{_conditions(result)}", x=0.01, ha="left")
        bars, scatter = figure.subplots(2, height_ratios=heights)
        _draw_memory(bars, result)
        _draw_latency(scatter, result)
        figure.draw_without_rendering()  # only now is it known where the points lie
        _label_points(scatter, result)
        figure.savefig(document, format="svg", metadata={"Date": None})
    return document.getvalue()


def _conditions(result: BenchResult) -> str:
    machine = result.machine
    where = ", ".join(part for part in (machine.board, machine.cpu, f"{machine.cores} cores") if part)
    return f"{where}; medians of {result.repeats} rounds"


def _draw_memory(axes: Axes, result: BenchResult) -> None:
    names = [row.name for row, _ in result.measured]
    steady_mb = [summary.steady_mb.median for _, summary in result.measured]
    peak_mb = [summary.peak_mb.median for _, summary in result.measured]
    latencies_ms = [summary.latency_p50_ms.median for _, summary in result.measured]
    peaks = axes.barh(names, peak_mb, height=0.55, color=_PEAK)
    axes.barh(names, steady_mb, height=0.55, color=[_colour(row) for row, _ in result.measured])
    figures = [f"{mb:.0f} MB, {ms:.0f} ms" for mb, ms in zip(steady_mb, latencies_ms, strict=True)]
    axes.bar_label(peaks, figures, padding=6, color=_FAINT)
    axes.set_title("Resident memory, MB (pale: the peak while loading)")
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def _draw_latency(axes: Axes, result: BenchResult) -> None:
    from matplotlib.ticker import LogLocator

    for row, summary in result.measured:
        axes.plot(summary.steady_mb.median, summary.latency_p50_ms.median, "o", color=_colour(row))
    best = [summary for _, summary in frontier(result.measured)]
    axes.step(
        [summary.steady_mb.median for summary in best],
        [summary.latency_p50_ms.median for summary in best],
        color=_FRONTIER,
        linestyle="--",
        where="post",
    )
    axes.set_title("Median latency, ms (logarithmic), against resident memory, MB (dashed: the frontier)")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlim(left=0)
    axes.margins(y=0.15)


def _label_points(axes: Axes, result: BenchResult) -> None:
    """Write each row's name above its point, higher where it would cover another name."""
    placed: list[tuple[float, float]] = []
    for row, summary in sorted(result.measured, key=lambda pair: pair[1].latency_p50_ms.median):
        point = (summary.steady_mb.median, summary.latency_p50_ms.median)
        x, y = axes.transData.transform(point)
        label_y = y + _LABEL_HEIGHT
        while any(abs(x - u) < _LABEL_WIDTH and abs(label_y - v) < _LABEL_HEIGHT for u, v in placed):
            label_y += 1
        placed.append((x, label_y))
        is_left = x > axes.bbox.x1 - _LABEL_WIDTH
        axes.annotate(
            row.name,
            point,
            (4 if is_left else -4, label_y - y),
            textcoords="offset points",
            ha="right" if is_left else "left",
            va="center",
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0},
        )


def _colour(row: RowResult) -> str:
    return _LEAN if "native" in row.name else _OTHER

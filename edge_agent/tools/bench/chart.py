"""The bench as an SVG picture: memory as bars, and memory against latency with the frontier. No library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from edge_agent.tools.bench.result import BenchResult, RowResult, frontier
from edge_agent.tools.measure.runs import Summary

_WIDTH = 960
_MARGIN = 28
_NAME_WIDTH = 250
_BAR_PITCH = 34
_BAR_HEIGHT = 16
_SCATTER_HEIGHT = 380
_LABEL_HEIGHT = 15

_INK, _FAINT, _GRID, _PAPER = "#1f2933", "#65737e", "#e3e8ec", "#ffffff"
_LEAN, _OTHER, _LINE = "#0b7a75", "#9aa9b5", "#d1495b"

_Point = tuple[RowResult, Summary]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        low, high, here = (self._scaled(number) for number in (self.low, self.high, value))
        return self.start + (here - low) / (high - low) * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def svg(result: BenchResult) -> str:
    """The whole picture; a document that a browser shows as it is."""
    bars_top = 84
    scatter_top = bars_top + len(result.measured) * _BAR_PITCH + 86
    height = scatter_top + _SCATTER_HEIGHT + 76
    machine = result.machine
    where = ", ".join(part for part in (machine.board, machine.cpu, f"{machine.cores} cores") if part)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
        f' height="{height}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>',
        _text(_MARGIN, 34, f"{result.model}: memory and latency", size=20, weight=600),
        _text(_MARGIN, 56, f"{where}; medians of {result.repeats} rounds", fill=_FAINT),
        *_bars(result, bars_top),
        *_scatter(result, scatter_top),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def ticks(low: float, high: float, most: int = 8) -> tuple[float, ...]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, at most `most` of them."""
    span = high - low
    if span <= 0:
        return (low,)
    step = 10.0 ** math.floor(math.log10(span / most))
    while span / step >= most:
        step *= 2.5 if f"{step:e}"[0] == "2" else 2
    first = math.ceil(low / step)
    return tuple(step * i for i in range(first, math.floor(high / step) + 1))


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2 and 5 times the powers of ten between `low` and `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = (digit * 10.0**power for power in powers for digit in (1, 2, 5))
    return tuple(mark for mark in marks if low <= mark <= high)


def _bars(result: BenchResult, top: float) -> list[str]:
    rows = result.measured
    widest = max((summary.peak_mb.median for _, summary in rows), default=1.0)
    axis = _Axis(0, widest, _MARGIN + _NAME_WIDTH, _WIDTH - 120)
    bottom = top + 22 + len(rows) * _BAR_PITCH
    parts = [_text(_MARGIN, top, "Resident memory, MB (bar: steady; line: peak while loading)", weight=600)]
    for mark in ticks(0, widest):
        parts += _vertical(axis.at(mark), top + 14, bottom, f"{mark:.0f}")
    for index, (row, summary) in enumerate(rows):
        parts += _bar(axis, top + 22 + index * _BAR_PITCH, row, summary)
    return parts


def _bar(axis: _Axis, top: float, row: RowResult, summary: Summary) -> list[str]:
    steady, peak = axis.at(summary.steady_mb.median), axis.at(summary.peak_mb.median)
    middle = top + _BAR_HEIGHT / 2
    figures = f"{summary.steady_mb.median:.0f} MB, {summary.latency_p50_ms.median:.0f} ms"
    return [
        _text(axis.start - 10, middle + 4, row.name, anchor="end"),
        f'<line x1="{axis.start:.1f}" y1="{middle:.1f}" x2="{peak:.1f}" y2="{middle:.1f}"'
        f' stroke="{_FAINT}" stroke-width="1.5"/>',
        f'<line x1="{peak:.1f}" y1="{top + 3:.1f}" x2="{peak:.1f}" y2="{top + _BAR_HEIGHT - 3:.1f}"'
        f' stroke="{_FAINT}" stroke-width="1.5"/>',
        f'<rect x="{axis.start:.1f}" y="{top:.1f}" width="{steady - axis.start:.1f}" height="{_BAR_HEIGHT}"'
        f' rx="3" fill="{_colour(row)}"/>',
        _text(max(steady, peak) + 8, middle + 4, figures, fill=_FAINT, size=12),
    ]


def _scatter(result: BenchResult, top: float) -> list[str]:
    rows = result.measured
    if not rows:
        return []
    steady = [summary.steady_mb.median for _, summary in rows]
    latency = [summary.latency_p50_ms.median for _, summary in rows]
    across = _Axis(0, max(steady) * 1.12, _MARGIN + 44, _WIDTH - _MARGIN)
    upward = _Axis(
        min(latency) / 1.4, max(latency) * 1.4, top + 20 + _SCATTER_HEIGHT, top + 20, logarithmic=True
    )
    title = "Median latency, ms (logarithmic), against steady memory, MB; line: the frontier"
    parts = [_text(_MARGIN, top, title, weight=600)]
    for mark in ticks(0, across.high):
        parts += _vertical(across.at(mark), upward.end, upward.start, f"{mark:.0f}")
    for mark in log_ticks(upward.low, upward.high):
        parts += _horizontal(upward.at(mark), across.start, across.end, f"{mark:g}")
    parts.append(_staircase(frontier(rows), across, upward))
    return parts + _points(rows, across, upward)


def _staircase(best: Sequence[_Point], across: _Axis, upward: _Axis) -> str:
    """Between two points of the frontier, more memory buys nothing: the line stays level, then drops."""
    corners: list[tuple[float, float]] = []
    for _, summary in best:
        x, y = across.at(summary.steady_mb.median), upward.at(summary.latency_p50_ms.median)
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    style = f'fill="none" stroke="{_LINE}" stroke-width="1.5" stroke-dasharray="5 4"'
    return f'<polyline points="{points}" {style}/>'


def _points(rows: Sequence[_Point], across: _Axis, upward: _Axis) -> list[str]:
    dots: list[str] = []
    labels: list[tuple[float, float, str, RowResult]] = []
    for row, summary in rows:
        x, y = across.at(summary.steady_mb.median), upward.at(summary.latency_p50_ms.median)
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{_colour(row)}"/>')
        labels.append((x, y, row.name, row))
    spread = _spread_labels(labels, across.end)
    return [_text(x, y, name, anchor=anchor, size=12) for x, y, name, anchor in spread] + dots


def _spread_labels(
    labels: Sequence[tuple[float, float, str, RowResult]], right_edge: float
) -> list[tuple[float, float, str, str]]:
    """Move labels down where they would cover one that was placed above them."""
    placed: list[tuple[float, float, str, str]] = []
    for x, y, name, _ in sorted(labels, key=lambda label: label[1]):
        width = 7.0 * len(name)
        is_left = x + 10 + width > right_edge
        left = x - 10 - width if is_left else x + 10
        baseline = y + 4
        while any(_meets(left, baseline, width, other) for other in placed):
            baseline += 2
        anchor = "end" if is_left else "start"
        placed.append((x - 10 if is_left else x + 10, baseline, name, anchor))
    return placed


def _meets(left: float, baseline: float, width: float, other: tuple[float, float, str, str]) -> bool:
    other_x, other_baseline, name, anchor = other
    other_width = 7.0 * len(name)
    other_left = other_x - other_width if anchor == "end" else other_x
    apart = left > other_left + other_width or other_left > left + width
    return not apart and abs(baseline - other_baseline) < _LABEL_HEIGHT


def _colour(row: RowResult) -> str:
    return _LEAN if "lean" in row.name else _OTHER


def _vertical(x: float, top: float, bottom: float, label: str) -> list[str]:
    return [
        f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{_GRID}"/>',
        _text(x, bottom + 16, label, anchor="middle", fill=_FAINT, size=11),
    ]


def _horizontal(y: float, left: float, right: float, label: str) -> list[str]:
    return [
        f'<line x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>',
        _text(left - 8, y + 4, label, anchor="end", fill=_FAINT, size=11),
    ]


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    fill: str = _INK,
    size: int = 13,
    weight: int = 400,
) -> str:
    # A halo of the paper's colour keeps words readable where a line passes behind them.
    halo = f'paint-order="stroke" stroke="{_PAPER}" stroke-width="3"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}"'
        f' font-weight="{weight}" {halo}>{escape(words)}</text>'
    )

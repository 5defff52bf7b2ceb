"""The table, the frontier and the chart of a bench, made from figures that are given."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.tools.bench.chart import log_ticks, svg, ticks
from edge_agent.tools.bench.report import markdown, spread, table
from edge_agent.tools.bench.result import BenchResult, Machine, RowResult, frontier
from edge_agent.tools.measure.runs import Agreement, Spread, Summary

_SVG = "{http://www.w3.org/2000/svg}"


def _same(value: float) -> Spread:
    return Spread(value, value, value)


def _row(name: str, steady_mb: float, latency_ms: float, top1: float = 1.0) -> RowResult:
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


_EAGER = _row("eager FP32", 690, 72)
_HALF = _row("naive <half> & more", 275, 3058)
_LEAN = _row("lean FP16", 87, 81)
_ABSENT = RowResult("LiteRT", None, None, None, absent="ai-edge-litert is not installed")
_RESULT = BenchResult(
    created=datetime(2025, 6, 1, tzinfo=UTC),
    machine=Machine("Raspberry Pi 5", "Cortex-A76", 4, "Linux 6.12 aarch64", "3.13.1", ("torch 2.10.0",)),
    model="resnet18",
    model_sha256="abc",
    weights="weights: seeded",
    reference="eager FP32",
    pictures=9,
    repeats=3,
    frames=30,
    rows=(_EAGER, _HALF, _LEAN, _ABSENT),
)


def test_the_table_has_every_row_and_says_why_one_is_empty() -> None:
    lines = markdown(_RESULT).splitlines()
    assert any(
        line.split("|")[1:6] == [" lean FP16           ", "        22.4 ", "   0.25 ", "   81.0 ", "   89.1 "]
        for line in lines
    )
    assert "- LiteRT: not measured: ai-edge-litert is not installed" in lines
    assert any("Cortex-A76" in line and "weights: seeded" in line for line in lines)


def test_the_frontier_leaves_out_what_is_beaten_in_both() -> None:
    assert [row.name for row, _ in frontier(_RESULT.measured)] == ["lean FP16", "eager FP32"]


def test_wrong_answers_are_not_on_the_frontier_however_fast() -> None:
    cheat = _row("cheat", 10, 1, top1=0.5)
    assert frontier(replace(_RESULT, rows=(*_RESULT.rows, cheat)).measured) == frontier(_RESULT.measured)


@given(st.lists(st.tuples(st.floats(10, 900), st.floats(1, 5000)), max_size=12))
def test_the_frontier_is_what_nothing_else_beats(figures: list[tuple[float, float]]) -> None:
    result = replace(_RESULT, rows=tuple(_row(str(i), *pair) for i, pair in enumerate(figures)))
    best = {row.name for row, _ in frontier(result.measured)}
    for i, (memory, latency) in enumerate(figures):
        beaten = any(m <= memory and ms <= latency and (m, ms) != (memory, latency) for m, ms in figures)
        if beaten:
            assert str(i) not in best
    assert bool(best) == bool(figures)


def test_the_json_holds_what_the_table_shows() -> None:
    whole = json.loads(_RESULT.to_json())
    assert whole["schema"] == 1
    assert whole["frontier"] == ["lean FP16", "eager FP32"]
    assert whole["rows"][2]["summary"]["steady_mb"] == {"median": 87, "lowest": 87, "highest": 87}
    assert whole["rows"][3]["absent"] == "ai-edge-litert is not installed"


def test_the_chart_is_a_picture_with_every_measured_row() -> None:
    root = ET.fromstring(svg(_RESULT))
    words = [element.text for element in root.iter(f"{_SVG}text")]
    assert words.count("naive <half> & more") == 2
    assert "LiteRT" not in words
    assert len(list(root.iter(f"{_SVG}circle"))) == 3
    bars = [float(rect.get("width", "0")) for rect in root.iter(f"{_SVG}rect") if rect.get("rx")]
    assert bars[0] == pytest.approx(bars[2] * 690 / 87, rel=0.01)


def test_nothing_in_the_chart_lies_outside_it() -> None:
    root = ET.fromstring(svg(_RESULT))
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for element in root.iter():
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height)):
            assert 0 <= float(element.get(name, "0")) <= limit


def test_a_chart_of_nothing_is_still_a_picture() -> None:
    assert ET.fromstring(svg(replace(_RESULT, rows=(_ABSENT,)))).tag == f"{_SVG}svg"


def test_labels_of_points_that_lie_together_do_not_cover_each_other() -> None:
    rows = tuple(_row(f"row {i}", 90 + i / 10, 80) for i in range(6))
    words = ET.fromstring(svg(replace(_RESULT, rows=rows))).iter(f"{_SVG}text")
    labels = [e for e in words if (e.text or "").startswith("row") and e.get("font-size") == "12"]
    heights = sorted(float(label.get("y", "0")) for label in labels)
    assert len(heights) == 6
    assert all(later - earlier >= 14 for earlier, later in pairwise(heights))


@given(st.floats(0.1, 1e5))
def test_ticks_are_few_and_within_the_axis(high: float) -> None:
    marks = ticks(0, high)
    assert 2 <= len(marks) <= 9
    assert all(0 <= mark <= high for mark in marks)


def test_ticks_of_a_logarithmic_axis_are_1_2_5() -> None:
    assert log_ticks(40, 3000) == (50, 100, 200, 500, 1000, 2000)


def test_a_spread_is_shown_only_where_there_is_one() -> None:
    assert spread(Spread(84.04, 84.01, 84.04)) == "84.0"
    assert spread(Spread(84.1, 83.0, 87.2)) == "84.1 (83.0-87.2)"
    assert spread(Spread(3058.2, 3001.7, 3120.0)) == "3058 (3002-3120)"


def test_columns_line_up() -> None:
    lines = table(("name", "MB"), [("a", "1"), ("longer", "100")]).splitlines()
    assert lines == ["| name   |  MB |", "| ------ | --: |", "| a      |   1 |", "| longer | 100 |"]

"""The table and the frontier of a bench."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.tools.bench.markdown import figure, markdown
from edge_agent.tools.bench.result import frontier
from edge_agent.tools.measure.runs import FigureSummary
from tests.tools.bench.results import RESULT, row


def test_the_table_has_every_row_and_says_why_one_is_empty() -> None:
    lines = markdown(RESULT).splitlines()
    assert any(
        line.split("|")[1:6] == [" native FP16         ", "        22.4 ", "   0.25 ", "   81.0 ", "   89.1 "]
        for line in lines
    )
    assert "- LiteRT: not measured: ai-edge-litert is not installed" in lines
    assert any("Cortex-A76" in line and "weights: seeded" in line for line in lines)


def test_the_frontier_leaves_out_what_is_beaten_in_both() -> None:
    assert [row.name for row, _ in frontier(RESULT.measured)] == ["native FP16", "eager FP32"]


def test_wrong_answers_are_not_on_the_frontier_however_fast() -> None:
    cheat = row("cheat", 10, 1, top1=0.5)
    assert frontier(replace(RESULT, rows=(*RESULT.rows, cheat)).measured) == frontier(RESULT.measured)


@given(st.lists(st.tuples(st.floats(10, 900), st.floats(1, 5000)), max_size=12))
def test_the_frontier_is_what_nothing_else_beats(figures: list[tuple[float, float]]) -> None:
    result = replace(RESULT, rows=tuple(row(str(i), *pair) for i, pair in enumerate(figures)))
    best = {row.name for row, _ in frontier(result.measured)}
    for i, (memory, latency) in enumerate(figures):
        beaten = any(m <= memory and ms <= latency and (m, ms) != (memory, latency) for m, ms in figures)
        if beaten:
            assert str(i) not in best
    assert bool(best) == bool(figures)


def test_the_json_holds_what_the_table_shows() -> None:
    whole = json.loads(RESULT.to_json())
    assert whole["schema"] == 1
    assert whole["frontier"] == ["native FP16", "eager FP32"]
    assert whole["rows"][2]["summary"]["steady_mb"] == {"median": 87, "lowest": 87, "highest": 87}
    assert whole["rows"][3]["absent"] == "ai-edge-litert is not installed"


def test_a_spread_is_shown_only_where_there_is_one() -> None:
    assert figure(FigureSummary(84.04, 84.01, 84.04)) == "84.0"
    assert figure(FigureSummary(84.1, 83.0, 87.2)) == "84.1 (83.0-87.2)"
    assert figure(FigureSummary(3058.2, 3001.7, 3120.0)) == "3058 (3002-3120)"

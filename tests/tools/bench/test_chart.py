"""The bench's chart: a real SVG document, parsed."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest

from edge_agent.errors import UsageError
from edge_agent.tools.bench.chart import require_matplotlib, svg
from tests.tools.bench.results import ABSENT, RESULT, row

_SVG = "{http://www.w3.org/2000/svg}"


def _texts(root: ET.Element) -> list[ET.Element]:
    return list(root.iter(f"{_SVG}text"))


def _bar_widths(root: ET.Element) -> list[float]:
    """The widths of the bars of steady memory, which are grey, or green for the lean engine."""
    widths = []
    for path in root.iter(f"{_SVG}path"):
        if path.get("style") in ("fill: #9aa9b5", "fill: #0b7a75") and path.get("clip-path"):
            xs = [float(x) for x in re.findall(r"[ML] (\S+)", path.get("d", ""))]
            widths.append(max(xs) - min(xs))
    return widths


def test_every_measured_row_is_a_bar_and_a_point_with_its_name() -> None:
    root = ET.fromstring(svg(RESULT))
    words = [element.text for element in _texts(root)]
    assert words.count("naive <half> & more") == 2
    assert "275 MB, 3058 ms" in words
    assert "resnet18: memory and latency" in words
    assert "LiteRT" not in words
    eager, _, lean = _bar_widths(root)
    assert eager == pytest.approx(lean * 690 / 87, rel=0.01)


def test_nothing_in_the_chart_lies_outside_it() -> None:
    root = ET.fromstring(svg(RESULT))
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for element in _texts(root):
        assert 0 <= float(element.get("x", "0")) <= width
        assert 0 <= float(element.get("y", "0")) <= height


def test_a_chart_of_nothing_is_still_a_picture() -> None:
    assert ET.fromstring(svg(replace(RESULT, rows=(ABSENT,)))).tag == f"{_SVG}svg"


def test_the_names_of_points_that_lie_together_do_not_cover_each_other() -> None:
    rows = tuple(row(f"row {i}", 90 + i / 10, 80) for i in range(6))
    texts = _texts(ET.fromstring(svg(replace(RESULT, rows=rows))))
    names = [text for text in texts if (text.text or "").startswith("row")]
    heights = sorted(float(name.get("y", "0")) for name in names[6:])  # the first six name the bars
    assert len(heights) == 6
    assert all(later - earlier >= 12 for earlier, later in pairwise(heights))


def test_the_same_figures_give_the_same_file() -> None:
    assert svg(RESULT) == svg(RESULT)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'edge-agent\[bench\]'"):
        require_matplotlib()

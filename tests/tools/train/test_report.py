"""The report says plainly what was found; nothing in it is of outside unescaped, or asks another host."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from edge_agent.errors import ModelError
from edge_agent.tools.train.bursts import bursts_of, split
from edge_agent.tools.train.chart import confusion_svg, reliability_svg, training_svg
from edge_agent.tools.train.dataset import labels_of, read_dataset
from edge_agent.tools.train.judge import cost_of, judge, reliability_of, worst
from edge_agent.tools.train.loop import Sets
from edge_agent.tools.train.network import make_trainee
from edge_agent.tools.train.pictures import store
from edge_agent.tools.train.report import Findings, Mistake, page, verdict, write_report
from edge_agent.tools.train.taught import Comparison, compare
from tests.tools.train.scenes import render, scene

EVIL = "<script>alert(1)</script>\x1b[2J\u202e&\"'"
LOGITS = np.array([[4, 0], [3, 0], [0, 2], [1, 0], [5, 0], [0, 1]], np.float32)
TRUTH = np.array([0, 0, 1, 1, 1, 1], np.intp)
BURSTS = ["a", "a", "b", "b", "c", "d"]


def findings(labels: tuple[str, str] = ("closed", "open"), comparison: Comparison | None = None) -> Findings:
    judged = judge(LOGITS, TRUTH, BURSTS, labels)
    return Findings(
        f"resnet18 trained on {labels[0]}",
        [("network", labels[0])],
        judged,
        2.0,
        reliability_of(LOGITS, TRUTH, 1.0),
        reliability_of(LOGITS, TRUTH, 2.0),
        cost_of(LOGITS, TRUTH, 1.0, 0.8),
        comparison,
        "it began with random weights",
        training_svg([1.0, 0.5], [(0.9, 0.5), (0.4, 1.0)], 1),
        [
            Mistake(labels[1], labels[1], labels[0], 0.99, scene("open", 1, 0)),
        ],
        2,
    )


class Collected(HTMLParser):
    """The tags of a page, and what they point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]


def test_the_page_has_everything_and_needs_nothing_beside_it() -> None:
    text = page(findings())
    for part in ("66.7% right", "precision", "taken for", "With temperature 2", "stabilizer.threshold: 0.8"):
        assert part in text
    seen = Collected(text)
    assert seen.tags.count("svg") == 4
    assert seen.links
    assert all(link.startswith("data:image/jpeg;base64,") for link in seen.links)
    assert "default-src 'none'" in text
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg|http-equiv", "", text)
    assert len(text) < 60_000


def test_names_from_outside_are_text_and_nothing_else() -> None:
    plain, evil = Collected(page(findings())), Collected(text := page(findings((EVIL, f"{EVIL}2"))))
    assert evil.tags == plain.tags
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_report_lies_beside_the_model_for_its_owner_alone(tmp_path: Path) -> None:
    where = write_report(findings(), tmp_path / "model")
    assert where == tmp_path / "model.report.html"
    assert where.stat().st_mode & 0o077 == 0
    ElementTree.parse(tmp_path / "model.training.svg")
    with pytest.raises(ModelError, match="cannot be written"):
        write_report(findings(), where / "model")


def test_every_chart_is_a_document() -> None:
    many = [f"label {number} {EVIL}" for number in range(40)]
    for chart in (
        training_svg([0.7], [(0.7, 0.5)], 0),
        training_svg([2.0, 1.0], [(1.5, 0.2), (1.2, 0.9)], 0),
        confusion_svg(many, np.eye(40, dtype=int).tolist()),
        reliability_svg(reliability_of(LOGITS, TRUTH, 1.0).bins, EVIL),
    ):
        ElementTree.fromstring(chart)
        assert len(chart) < 200_000


def test_sureness_is_held_against_what_was_right() -> None:
    found = reliability_of(LOGITS, TRUTH, 1.0)
    assert sum(each.count for each in found.bins) == 6
    top = found.bins[-1]
    assert top.count == 3
    assert top.right == pytest.approx(2 / 3)
    assert 0.2 < found.error < 0.5
    cost = cost_of(LOGITS, TRUTH, 1.0, 0.8)
    assert (cost.kept, cost.refused) == (0.75, 0.5)
    assert [(row, answer) for row, answer, _ in worst(LOGITS, TRUTH, 1.0, 9)] == [(4, 0), (3, 0)]


def test_training_is_worth_it_only_where_it_gains_more_than_chance() -> None:
    judged = judge(LOGITS, TRUTH, BURSTS, ("closed", "open"))
    better = Comparison(judged, 30, 0.12, 0.05, 0.19)
    assert verdict(judged, better, "").startswith("Training was worth it.")
    by_chance = replace(better, low=-0.01)
    assert "not worth it: use the taught head" in verdict(judged, by_chance, "")
    assert "+12.0 points, -1.0 to +19.0" in page(findings(comparison=by_chance))
    assert "random weights" in verdict(judged, None, "it began with random weights")


def test_a_head_is_taught_on_the_same_pictures_and_judged_by_the_same(tmp_path: Path) -> None:
    items = read_dataset(render(tmp_path / "set", days=8, shots=4))
    labels, bursts = labels_of(items), bursts_of(items)
    made = split(items, bursts, 0)
    torch.manual_seed(0)
    start = make_trainee("shufflenet_v2_x0_5", "none", 32, labels, lambda _: None)
    pictures = store(items, start.preprocessing, tmp_path / "pictures")
    truth = np.array([labels.index(item.label) for item in items], np.intp)
    sets = Sets(pictures, truth, made.learn, made.tune)
    right = np.eye(2, dtype=np.float32)[truth[list(made.judge)]]
    found = compare(start, sets, made.judge, bursts, labels, right, 8)
    same = compare(start, sets, made.judge, bursts, labels, 1 - right, 8)
    pictures.close()
    assert found.examples == len(made.learn)
    assert found.taught.pictures == len(made.judge)
    assert found.gain == pytest.approx(1 - found.taught.accuracy)
    assert found.low < found.gain < found.high
    assert same.gain == pytest.approx(-found.taught.accuracy)
    assert not same.is_worth_it

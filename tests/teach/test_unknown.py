"""Unknown: what is unlike all examples, however they are ordered and however many they are."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.teach.examples import UNKNOWN, Example, in_order
from edge_agent.teach.fitting import fit
from edge_agent.teach.head import unit_of
from edge_agent.teach.moments import rooted
from edge_agent.teach.unknown import MOST_ANCHORS, Floats, Rules, Shown, inverted, shown
from tests.teach.worlds import World, backbone

Result = TypeVar("Result")

WORLD = World(features=64, labels="abc")
RIDGE = 0.3


def finished(slices: Generator[None, None, Result]) -> Result:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: Result = end.value
            return result


def shown_of(examples: list[Example], centre: Floats | None = None) -> Shown:
    nowhere = np.zeros(len(examples[0].feature), np.float32)
    return finished(shown(in_order(examples), nowhere if centre is None else centre, Rules()))


def familiarity(found: Shown, example: Example, centre: Floats | None = None) -> float:
    root = rooted(example.feature).astype(np.float32)
    centre = np.zeros_like(root) if centre is None else centre
    unit = unit_of(root - centre)
    return found.familiarity(root, unit, float(centre @ unit))


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_an_inverse_is_one(size: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(size, 3 + size // 2)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    matrix = rows @ rows.T + np.float32(RIDGE) * np.eye(size, dtype=np.float32)
    found = finished(inverted(matrix.copy()))
    assert found @ matrix == pytest.approx(np.eye(size), abs=1e-3)


def test_familiarity_is_what_the_formulas_say() -> None:
    examples = WORLD.examples(range(4), 2)
    centre = np.linspace(0, 0.1, 64).astype(np.float32)
    found = shown_of(examples, centre)
    roots = np.stack([rooted(each.feature) for each in in_order(examples)]).astype(np.float64)
    root = rooted(WORLD.example("a", 50, 0).feature).astype(np.float64)
    cosines = roots @ root / np.linalg.norm(roots, axis=1) / np.linalg.norm(root)
    units = (roots - centre) / np.linalg.norm(roots - centre, axis=1, keepdims=True)
    known = units @ (root - centre) / np.linalg.norm(root - centre)
    novelty = 1 - known @ np.linalg.solve(units @ units.T + RIDGE * np.eye(len(units)), known)
    expected = -novelty - np.sqrt(2 - 2 * cosines.max()) / found.spread
    assert familiarity(found, WORLD.example("a", 50, 0), centre) == pytest.approx(expected, abs=2e-3)


def test_the_floor_is_how_familiar_examples_are_without_their_burst() -> None:
    examples = in_order(WORLD.examples(range(5), 2))
    floors = shown_of(examples).floors
    alone = []
    for example in examples:
        rest = [each for each in examples if each.burst != example.burst]
        found = shown_of(rest)
        own = [each for each in rest if each.label == example.label]
        spread = shown_of(examples).spread
        nearest = max(_cosine(example, each) for each in own)
        novelty = (
            -familiarity(found, example) - _distance(max(_cosine(example, e) for e in rest)) / found.spread
        )
        alone.append(-novelty - _distance(nearest) / spread)
    expected = (
        sorted(alone)[int(Rules().quantile * (len(alone) - 1))] - 0.05 - 0.5 / 5
    )  # five bursts of each label
    assert floors == pytest.approx([expected] * 3, abs=0.02)


def test_a_label_that_was_shown_at_fewer_times_is_given_more_room() -> None:
    examples = WORLD.examples(range(4), 2, labels="ab") + WORLD.examples([9], 3, labels="c")
    floors = shown_of(examples).floors
    assert floors[0] == floors[1] > floors[2]


def _cosine(one: Example, other: Example) -> float:
    first, second = (rooted(each.feature).astype(np.float64) for each in (one, other))
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def _distance(cosine: float) -> float:
    return float(np.sqrt(max(2 - 2 * cosine, 0)))


def test_an_example_is_more_familiar_than_another_day_and_that_more_than_a_stranger() -> None:
    world = World(rank=100)
    examples = world.examples(range(4), 2)
    found = shown_of(examples)
    own = [familiarity(found, each) for each in examples]
    again = [familiarity(found, each) for each in world.examples(range(50, 54), 2)]
    strange = [familiarity(found, each) for each in world.examples(range(50, 54), 2, labels="xyz")]
    assert np.mean(own) > np.mean(again) > np.mean(strange)
    assert max(own) <= 1e-3


def test_as_many_anchors_of_each_label_are_kept_as_there_is_room_for() -> None:
    world = World(features=64, labels="abcd")
    found = shown_of(world.examples(range(25), 2))
    assert len(found.roots) == MOST_ANCHORS
    assert found.inverse.shape == (MOST_ANCHORS, MOST_ANCHORS)
    few = world.examples(range(25), 2, labels="abc") + world.examples(range(2), 2, labels="d")
    assert len(shown_of(few).roots) == 3 * (MOST_ANCHORS // 4) + 4


@pytest.mark.parametrize("labels", ["a", "ab"])
def test_what_was_shown_once_is_known_again(labels: str) -> None:
    examples = WORLD.examples([0], 1, labels=labels)
    head = fit(examples, backbone(64)).head
    assert head.answer(examples[0].feature).label == "a"
    assert head.answer(-examples[0].feature).label == UNKNOWN


def test_the_same_feature_again_and_again_is_no_trouble() -> None:
    one = WORLD.example("a", 0, 0)
    same = [Example("a", one.feature, 1e9, 100.0, burst) for burst in range(4)]
    found = shown_of(same)
    assert np.isfinite(found.inverse).all()
    assert familiarity(found, one) > found.floors[0]

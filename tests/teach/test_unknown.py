"""Unknown: what is unlike all examples, however they are ordered and however many they are."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.teach.examples import UNKNOWN, Example, in_order
from edge_agent.teach.fitting import fit
from edge_agent.teach.moments import rooted
from edge_agent.teach.unknown import MOST_ANCHORS, Floats, Rules, Shown, inverted, shown
from tests.teach.worlds import World, backbone

Result = TypeVar("Result")
Rows = NDArray[np.float64]

WORLD = World(features=64, labels="abc")
RIDGE, DISTANCE = 0.1, 0.4


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
    return found.familiarity(root, np.zeros_like(root) if centre is None else centre)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_an_inverse_is_one(size: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(size, 3 + size // 2)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    matrix = rows @ rows.T + np.float32(RIDGE) * np.eye(size, dtype=np.float32)
    found = finished(inverted(matrix.copy()))
    assert found @ matrix == pytest.approx(np.eye(size), abs=1e-3)


def rows_of(examples: list[Example]) -> Rows:
    return np.stack([rooted(each.feature) for each in examples]).astype(np.float64)


def means_of(examples: list[Example]) -> dict[str, Rows]:
    return {
        label: rows_of([each for each in examples if each.label == label]).mean(axis=0)
        for label in {each.label for each in examples}
    }


def novelty_of(example: Example, others: list[Example], centre: Rows, scale: Rows) -> float:
    units = (rows_of([*others, example]) - centre) * scale
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    known = units[:-1] @ units[-1]
    inner = units[:-1] @ units[:-1].T + RIDGE * np.eye(len(others))
    return float(1 - known @ np.linalg.solve(inner, known))


def nearest_of(example: Example, others: list[Example], labels: str) -> float:
    """The distance to the nearest of the others, each moved to each of the labels."""
    root, means = rows_of([example])[0], means_of(others)
    moved = [
        row - means[other.label] + means[label]
        for other, row in zip(others, rows_of(others), strict=True)
        for label in labels
    ]
    return min(_distance(float(root @ each / np.linalg.norm(root) / np.linalg.norm(each))) for each in moved)


def test_familiarity_is_what_the_formulas_say() -> None:
    examples = in_order(WORLD.examples(range(4), 2))
    centre = np.linspace(0, 0.1, 64).astype(np.float32)
    found = shown_of(examples, centre)
    frame = WORLD.example("a", 50, 0)
    novelty = novelty_of(frame, examples, centre.astype(np.float64), found.scale.astype(np.float64))
    expected = -novelty - DISTANCE * nearest_of(frame, examples, "abc") / found.spread
    assert familiarity(found, frame, centre) == pytest.approx(expected, abs=2e-3)


def test_a_number_of_the_feature_counts_for_less_the_more_it_differs_from_day_to_day() -> None:
    examples = WORLD.examples(range(4), 2)
    days = {
        label: np.stack(
            [
                rows_of([e for e in examples if (e.label, e.burst) == (label, day)]).mean(axis=0)
                for day in range(4)
            ]
        )
        for label in "abc"
    }
    variance = np.sum([rows.var(axis=0) for rows in days.values()], axis=0)
    expected = 1 / np.sqrt(variance / variance.mean() + 0.1)
    assert shown_of(examples).scale == pytest.approx(expected, rel=1e-3)
    assert shown_of(WORLD.examples([0], 2)).scale == pytest.approx(np.ones(64))


def test_the_floor_is_how_familiar_examples_are_without_their_burst() -> None:
    examples = in_order(WORLD.examples(range(5), 2))
    found, nowhere = shown_of(examples), np.zeros(64)
    alone = []
    for example in examples:
        rest = [each for each in examples if each.burst != example.burst]
        novelty = novelty_of(example, rest, nowhere, found.scale.astype(np.float64))
        alone.append(-novelty - DISTANCE * nearest_of(example, rest, example.label) / found.spread)
    allowance = 0.17 + 0.75 / 5  # five bursts of each label
    expected = sorted(alone)[int(Rules().quantile * (len(alone) - 1))] - allowance
    assert found.floors == pytest.approx([expected] * 3, abs=0.01)


def test_what_one_label_was_shown_in_is_less_strange_with_another() -> None:
    """Fog, which moves whatever is seen in it by the same."""
    fog = np.zeros(64, np.float16)
    fog[:8] = 3.0

    def seen(label: str, day: int, *, in_fog: bool = False) -> Example:
        clear = WORLD.example(label, day, 0)
        return Example(label, clear.feature + fog * in_fog, clear.time_s, 100.0, day)

    days = [seen(label, day) for label in "ab" for day in range(4)]
    without = familiarity(shown_of(days), seen("b", 50, in_fog=True))
    with_fog = familiarity(shown_of([*days, seen("a", 9, in_fog=True)]), seen("b", 50, in_fog=True))
    assert with_fog > without + 0.2


def test_a_label_that_was_shown_at_fewer_times_is_given_more_room() -> None:
    examples = WORLD.examples(range(4), 2, labels="ab") + WORLD.examples([9], 3, labels="c")
    floors = shown_of(examples).floors
    assert floors[0] == floors[1] > floors[2]


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

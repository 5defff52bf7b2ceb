"""The report: what was judged, how sure that is, what looks mislabelled and what is missing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.teach.examples import Example
from edge_agent.teach.fitting import fit
from edge_agent.teach.report import Report, missing, report, wilson
from tests.teach.worlds import World, backbone

WORLD = World(features=64, labels="abc")


def of(examples: list[Example]) -> Report:
    return report(examples, fit(examples, backbone(64)))


def test_a_head_that_is_right_says_so_and_how_sure_that_is() -> None:
    found = of(WORLD.examples(range(4), 2))
    assert (found.judged, found.correct, found.accuracy) == (24, 24, 1.0)
    assert found.low == pytest.approx(0.757, abs=0.001)  # of 12 bursts, not of 24 examples
    assert found.high == 1.0
    assert found.confusion == {label: {label: 8} for label in "abc"}
    assert found.mislabelled == ()
    assert found.missing == ()


def test_a_wrong_label_is_found() -> None:
    examples = WORLD.examples(range(4), 3)
    wrong = replace(examples[5], label="b")
    found = of([*examples[:5], wrong, *examples[6:]])
    assert found.mislabelled[0].key == wrong.key
    assert (found.mislabelled[0].label, found.mislabelled[0].answer) == ("b", "a")
    assert found.confusion["b"]["a"] == 1


def test_what_cannot_be_judged_does_not_count() -> None:
    found = of(WORLD.examples([0], 3))
    assert (found.judged, found.accuracy, found.low, found.high) == (0, None, None, None)
    assert found.confusion == {}
    assert "all of `a` at one time: show it again another time" in found.missing


def test_what_is_missing_is_said() -> None:
    day, night = 0, 1
    examples = [
        *(WORLD.example("open", burst, number) for burst in (0, 2) for number in range(3)),
        *(
            WORLD.example("closed", burst, number, dark=burst == night)
            for burst in (day, night)
            for number in range(3)
        ),
        WORLD.example("ajar", 0, 0),
    ]
    assert missing(examples) == (
        "1 example of `ajar`: show 5 or more",
        "all of `ajar` at one time: show it again another time",
        "no example of `ajar` at night",
        "`closed` at one time alone by day: show it again",
        "`closed` at one time alone at night: show it again",
        "no example of `open` at night",
    )
    assert "no example of `open` by day" in missing(
        [replace(e, brightness=5.0) if e.label == "open" else e for e in examples]
    )
    assert missing(examples[:6]) == ("only one label: show something else, or `none`",)


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(chance: random.Random) -> None:
    world = World(features=64, apart=0.3, labels="abc")
    examples = world.examples(range(3), 2)
    assert of(chance.sample(examples, len(examples))) == of(examples)


@pytest.mark.parametrize(
    ("share", "trials", "low", "high"), [(0.0, 1, 0.0, 0.793), (1.0, 1, 0.207, 1.0), (0.9, 50, 0.786, 0.957)]
)
def test_wilson(share: float, trials: int, low: float, high: float) -> None:
    assert wilson(share, trials) == pytest.approx((low, high), abs=1e-3)


@given(st.floats(0, 1), st.integers(1, 1000))
def test_the_interval_holds_what_was_seen(share: float, trials: int) -> None:
    low, high = wilson(share, trials)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1

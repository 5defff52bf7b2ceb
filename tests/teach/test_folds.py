"""Folds: every burst is left out once, whole, with those of other labels in like light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.teach.examples import Example, in_order
from edge_agent.teach.fitting import finished
from edge_agent.teach.folds import MOST_FOLDS, NEVER, folds_of
from edge_agent.teach.gram import Rows, products


def example(label: str, burst: int, light: float = 4.0, brightness: float = 100.0) -> Example:
    feature = np.array([2 * (ord(label) - ord("a")), light, 1 + burst % 3 / 10], np.float16)
    return Example(label, feature**2, 1e9 + burst, brightness, burst)


def folds(examples: Sequence[Example]) -> list[int]:
    found = finished(products(Rows([each.feature for each in examples], None, np.zeros(3, np.float32))))
    return [int(fold) for fold in folds_of(examples, found)]


LIGHTS = {"a": (9, 1, 6), "b": (2, 13, 7)}


def shown(*, brightness: Sequence[float]) -> list[Example]:
    return in_order(
        example(label, 10 * place + number, light, brightness[number])
        for place, (label, of_label) in enumerate(LIGHTS.items())
        for number, light in enumerate(of_label)
    )


def test_the_darkest_of_each_label_go_together_and_the_brightest() -> None:
    """By what they look like, also where infrared light makes the night as bright as the day."""
    ways = ([2, 0, 1, 0, 2, 1], [0, 2, 1, 2, 0, 1])  # which end is the first fold, does not matter
    assert folds(shown(brightness=(100, 100, 100))) in ways
    assert folds(shown(brightness=(90, 95, 100))) in ways


def test_a_label_with_fewer_bursts_is_spread_over_all_turns() -> None:
    examples = [example("a", burst, burst, burst) for burst in range(9)]
    examples += [example("b", 20 + burst, burst, burst) for burst in range(3)]
    assert folds(examples) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 4, 7]


def test_a_label_that_was_shown_once_is_never_left_out() -> None:
    examples = [example("a", 0, 1), example("a", 1, 5), example("b", 2)]
    assert sorted(folds(examples)[:2]) == [0, 1]
    assert folds(examples)[2] == NEVER
    assert folds(examples[:1]) == [NEVER]


def test_twice_the_same_at_another_time_is_no_trouble() -> None:
    examples = [example("a", burst) for burst in (0, 3, 6)]
    assert sorted(folds(examples)) == [0, 1, 2]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.sampled_from([1, 7])), min_size=1))
def test_bursts_stay_whole_and_no_turn_is_beyond_the_most(chosen: list[tuple[str, int, int]]) -> None:
    examples = in_order(example(*each) for each in chosen)
    found = folds(examples)
    assert min(found) >= NEVER
    assert max(found) < MOST_FOLDS
    of_burst: dict[int, set[int]] = {}
    for each, fold in zip(examples, found, strict=True):
        of_burst.setdefault(each.burst, set()).add(fold)
    assert all(len(each) == 1 for each in of_burst.values())

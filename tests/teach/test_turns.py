"""Turns: every burst is left out once, whole, with those of other labels in like light."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.teach.examples import Example, in_order
from edge_agent.teach.turns import MOST_TURNS, NEVER, turns_of


def example(label: str, burst: int, brightness: float = 100.0) -> Example:
    return Example(label, np.array([1 + burst, ord(label)], np.float16), 1e9 + burst, brightness, burst)


def test_the_darkest_of_each_label_go_together_and_the_brightest() -> None:
    lights = {"a": (90, 10, 60), "b": (20, 130, 70)}
    examples = in_order(
        example(label, 10 * place + number, light)
        for place, (label, of_label) in enumerate(lights.items())
        for number, light in enumerate(of_label)
    )
    assert turns_of(examples).tolist() == [2, 0, 1, 0, 2, 1]


def test_a_label_with_fewer_bursts_is_spread_over_all_turns() -> None:
    examples = [example("a", burst, burst) for burst in range(9)]
    examples += [example("b", 20 + burst, burst) for burst in range(3)]
    assert turns_of(examples).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 4, 7]


def test_a_label_that_was_shown_once_is_never_left_out() -> None:
    examples = [example("a", 0), example("a", 1), example("b", 2)]
    assert turns_of(examples).tolist() == [0, 1, NEVER]
    assert turns_of(examples[:1]).tolist() == [NEVER]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.sampled_from([5, 90])), min_size=1))
def test_bursts_stay_whole_and_no_turn_is_beyond_the_most(shown: list[tuple[str, int, int]]) -> None:
    examples = in_order(example(*each) for each in shown)
    turns = turns_of(examples)
    assert turns.min() >= NEVER
    assert turns.max() < MOST_TURNS
    of_burst: dict[int, set[int]] = {}
    for each, turn in zip(examples, turns.tolist(), strict=True):
        of_burst.setdefault(each.burst, set()).add(turn)
    assert all(len(each) == 1 for each in of_burst.values())

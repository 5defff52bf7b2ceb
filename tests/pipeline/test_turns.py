"""Turns: by priority over time, and nobody waits for ever."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.pipeline.turns import Turns

NAMES = ("gate", "door", "yard", "bin")
PRIORITIES = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 100), min_size=1)


def test_with_equal_priorities_each_comes_in_turn() -> None:
    turns, first = Turns(), []
    for _ in range(6):
        name = turns.order({"gate": 1, "door": 1, "yard": 1})[0]
        turns.taken(name, 1)
        first.append(name)
    assert first == ["gate", "door", "yard"] * 2


@given(PRIORITIES)
def test_over_time_turns_are_in_proportion_to_priority(priorities: dict[str, int]) -> None:
    turns: Turns = Turns()
    had: Counter[str] = Counter()
    rounds = 10 * sum(priorities.values())
    for _ in range(rounds):
        name = turns.order(priorities)[0]
        turns.taken(name, priorities[name])
        had[name] += 1
    for name, priority in priorities.items():
        assert abs(had[name] - 10 * priority) <= len(priorities)


@given(st.lists(PRIORITIES, min_size=1, max_size=20))
def test_one_that_comes_anew_neither_waits_long_nor_keeps_the_others_waiting(
    steps: list[dict[str, int]],
) -> None:
    turns = Turns()
    for priorities in steps:
        for _ in range(30):
            name = turns.order(priorities)[0]
            turns.taken(name, priorities[name])
        # Whoever is due now has its turn within the time that the others need for one each, and their more.
        waiting = set(priorities)
        for _ in range(sum(priorities.values()) + 2 * len(priorities) * max(priorities.values())):
            name = turns.order(priorities)[0]
            turns.taken(name, priorities[name])
            waiting.discard(name)
        assert not waiting

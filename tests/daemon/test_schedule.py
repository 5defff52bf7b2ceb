"""Periodic work: when it is due."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.daemon.schedule import Every


def test_it_is_due_at_once_and_then_after_each_interval() -> None:
    every = Every(10.0)
    assert [every.is_due(now_s) for now_s in (100.0, 101.0, 109.9, 110.0, 111.0)] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_what_was_missed_is_not_made_up_for() -> None:
    every = Every(1.0)
    assert every.is_due(0.0)
    assert every.is_due(100.0)
    assert not every.is_due(100.5)


def test_it_can_be_hastened() -> None:
    every = Every(60.0)
    every.is_due(0.0)
    every.hasten()
    assert every.left_s(1.0) == 0.0
    assert every.is_due(1.0)


@given(st.floats(0.1, 100), st.lists(st.floats(0, 50), max_size=50))
def test_it_is_never_due_twice_within_an_interval(interval_s: float, steps_s: list[float]) -> None:
    every, now_s, due_s = Every(interval_s), 0.0, []
    for step_s in steps_s:
        now_s += step_s
        if every.is_due(now_s):
            due_s.append(now_s)
    assert all(later - earlier >= interval_s * 0.999 for earlier, later in itertools.pairwise(due_s))


@given(st.floats(0.1, 100), st.floats(0, 1000), st.floats(0, 1000))
def test_after_the_time_left_it_is_due(interval_s: float, start_s: float, later_s: float) -> None:
    every = Every(interval_s)
    every.is_due(start_s)
    now_s = start_s + min(later_s, interval_s)
    assert every.is_due(now_s + every.left_s(now_s) + 1e-6)

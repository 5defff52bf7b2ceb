"""The rate of frames, and the pauses between attempts to reopen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.pipeline.pace import Pacer


def test_the_first_frame_is_due_at_once() -> None:
    assert Pacer(2).due_in_s(123.0) <= 0


def test_without_a_rate_every_frame_is_due_at_once() -> None:
    pacer = Pacer(0)
    for now_s in (1.0, 1.0, 1.1):
        assert pacer.due_in_s(now_s) <= 0
        pacer.taken(now_s)


def test_a_frame_is_due_a_period_after_the_one_before() -> None:
    pacer = Pacer(4)
    pacer.taken(10.0)
    assert pacer.due_in_s(10.1) == pytest.approx(0.15)


@given(fps=st.floats(0.1, 100), lateness=st.lists(st.floats(0, 0.9), min_size=20, max_size=60))
def test_a_little_lateness_does_not_slow_the_rate_down(fps: float, lateness: list[float]) -> None:
    pacer = Pacer(fps)
    now_s = 50.0
    pacer.taken(now_s)
    for late in lateness:
        now_s += max(0.0, pacer.due_in_s(now_s)) + late / fps
        pacer.taken(now_s)
    assert now_s - 50.0 <= (len(lateness) + 0.91) / fps


@given(fps=st.floats(0.1, 100), gaps=st.lists(st.floats(0, 5), min_size=3, max_size=60))
def test_the_rate_is_never_exceeded_by_catching_up(fps: float, gaps: list[float]) -> None:
    pacer = Pacer(fps)
    now_s = 0.0
    taken: list[float] = []
    for gap in gaps:
        now_s += gap / fps
        now_s += max(0.0, pacer.due_in_s(now_s))
        pacer.taken(now_s)
        taken.append(now_s)
    for first, third in zip(taken, taken[2:], strict=False):
        assert third - first >= 0.999 / fps

"""The budget's decisions: by example, and for any course that memory can take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.schema import MemoryConfig
from edge_agent.memory.budget import (
    Action,
    BudgetMonitor,
    BudgetPolicy,
    Degrade,
    DegradeStep,
    Restart,
    Trim,
)

_POLICY = BudgetPolicy(budget_mb=100, soft_mb=90, settle_s=10, trim_interval_s=30, grace_s=60)
_STEPS = tuple(DegradeStep)
_LATE = 1000.0  # well after the grace time


def _monitor(steps: Sequence[DegradeStep] = _STEPS, policy: BudgetPolicy = _POLICY) -> BudgetMonitor:
    return BudgetMonitor(policy, steps, started_s=0)


def test_below_the_soft_limit_nothing_happens() -> None:
    monitor = _monitor()
    assert [monitor.sample(_LATE + i, 89.9) for i in range(5)] == [None] * 5
    assert monitor.state == "ok"


def test_the_soft_limit_is_answered_by_trimming() -> None:
    monitor = _monitor()
    assert monitor.sample(_LATE, 90) == Trim()
    assert monitor.state == "soft"
    assert monitor.sample(_LATE + 29, 95) is None
    assert monitor.sample(_LATE + 30, 95) == Trim()


def test_trims_that_do_not_help_become_rare() -> None:
    monitor = _monitor()
    times = [t for t in range(0, 7200, 5) if monitor.sample(_LATE + t, 95) == Trim()]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == _POLICY.longest_trim_interval_s


def test_the_state_is_ok_again_only_clearly_below_the_soft_limit() -> None:
    monitor = _monitor()
    states: list[str] = []
    for rss_mb in (91, 89, 88, 87.9, 89):
        monitor.sample(_LATE, rss_mb)
        states.append(monitor.state)
    assert states == ["soft", "soft", "soft", "ok", "ok"]


def test_above_the_budget_everything_is_tried_in_order_before_the_restart() -> None:
    monitor = _monitor()
    actions = [monitor.sample(_LATE + t, 110) for t in range(0, 200, 10)]
    taken = [action for action in actions if action not in (None, Trim())]
    assert actions[0] == Trim()
    assert taken[:-1] == [Degrade(step) for step in _STEPS]
    assert taken[-1] == Restart(
        "resident memory 110 MB is above the budget of 100 MB after"
        " trimming, reopen_stream, stream_weights, fp16_weights, no_images, no_page, small_frame"
    )


def test_a_measure_is_given_time_to_take_effect() -> None:
    monitor = _monitor()
    monitor.sample(_LATE, 110)
    assert monitor.sample(_LATE + 9.9, 110) is None
    assert monitor.sample(_LATE + 10, 110) == Degrade(_STEPS[0])


def test_degrading_stops_when_it_has_helped() -> None:
    monitor = _monitor()
    monitor.sample(_LATE, 110)
    monitor.sample(_LATE + 10, 110)
    assert all(monitor.sample(_LATE + 20 + t, 85) is None for t in range(100))
    assert monitor.steps_taken == (_STEPS[0],)


def test_memory_that_runs_away_is_not_fought_step_by_step() -> None:
    monitor = _monitor()
    assert monitor.sample(_LATE, 151) == Trim()
    assert isinstance(monitor.sample(_LATE + 10, 160), Restart)


def test_loading_may_peak_above_the_budget() -> None:
    monitor = _monitor()
    actions = [monitor.sample(float(t), 130) for t in range(0, 60, 5)]
    assert {type(action) for action in actions} <= {Trim, type(None)}
    assert isinstance(monitor.sample(60, 130), Trim | Degrade)


def test_an_agent_with_nothing_to_give_up_is_restarted_after_trimming() -> None:
    monitor = _monitor(steps=())
    assert monitor.sample(_LATE, 110) == Trim()
    assert isinstance(monitor.sample(_LATE + 10, 110), Restart)


@pytest.mark.parametrize("check_interval_s", [0.2, 5, 15, 60, 600])
def test_however_seldom_it_is_checked_trimming_is_not_all_that_is_done(check_interval_s: float) -> None:
    policy = BudgetPolicy.from_config(MemoryConfig(budget_mb=100, check_interval_s=check_interval_s))
    monitor = _monitor(policy=policy)
    actions = [monitor.sample(_LATE + number * check_interval_s, 110) for number in range(1000)]
    assert monitor.steps_taken == _STEPS
    assert [type(action) for action in actions if isinstance(action, Restart)] == [Restart]


def test_a_larger_budget_calms_it_at_once() -> None:
    monitor = _monitor()
    monitor.sample(_LATE, 110)
    monitor.adopt(BudgetPolicy(budget_mb=200, soft_mb=180))
    assert monitor.sample(_LATE + 10, 110) is None
    assert monitor.state == "ok"


def test_the_policy_follows_the_configuration() -> None:
    policy = BudgetPolicy.from_config(MemoryConfig(budget_mb=200, soft_percent=80, check_interval_s=3))
    assert (policy.budget_mb, policy.soft_mb, policy.settle_s) == (200, 160, 6)


_Course = list[tuple[float, float]]
_COURSES = st.lists(st.tuples(st.floats(0.1, 40), st.floats(0, 300)), max_size=120)


def _follow(monitor: BudgetMonitor, course: _Course) -> list[tuple[float, float, Action | None]]:
    """What the monitor does at each (time, memory) of a course given as (pause before, memory)."""
    now_s, taken = 0.0, []
    for pause_s, rss_mb in course:
        now_s += pause_s
        taken.append((now_s, rss_mb, monitor.sample(now_s, rss_mb)))
    return taken


@given(_COURSES, st.lists(st.sampled_from(DegradeStep), unique=True))
def test_whatever_memory_does_the_rules_hold(course: _Course, steps: list[DegradeStep]) -> None:
    taken = _follow(_monitor(steps), course)
    trims = [now_s for now_s, _, action in taken if isinstance(action, Trim)]
    degrades = [(now_s, action.step) for now_s, _, action in taken if isinstance(action, Degrade)]
    restarts = [index for index, (_, _, action) in enumerate(taken) if isinstance(action, Restart)]

    assert all(later - earlier >= _POLICY.trim_interval_s for earlier, later in pairwise(trims))
    assert [step for _, step in degrades] == steps[: len(degrades)]
    for now_s, rss_mb, action in taken:
        if isinstance(action, Degrade | Restart):
            assert rss_mb > _POLICY.budget_mb
            assert now_s >= _POLICY.grace_s
            assert trims
            assert min(trims) < now_s
        if action is not None:
            assert rss_mb >= _POLICY.recovered_mb
    assert len(restarts) <= 1
    assert not restarts or all(action is None for _, _, action in taken[restarts[0] + 1 :])


@given(_COURSES, st.floats(100.1, 300))
def test_memory_that_stays_above_the_budget_always_ends_in_a_restart(
    course: _Course, stuck_mb: float
) -> None:
    monitor = _monitor()
    before = _follow(monitor, course)
    start_s = before[-1][0] if before else 0.0
    after = [monitor.sample(start_s + t, stuck_mb) for t in range(0, 200, 5)]
    actions = [action for _, _, action in before] + after
    assert any(isinstance(action, Restart) for action in actions)


@given(st.lists(st.floats(0, 89.9), max_size=50))
def test_an_agent_below_its_soft_limit_is_left_alone(figures: list[float]) -> None:
    monitor = _monitor()
    assert all(monitor.sample(5.0 * i, rss_mb) is None for i, rss_mb in enumerate(figures))
    assert monitor.state == "ok"

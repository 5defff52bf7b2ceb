"""The thermal governor: by example, and for any course of temperatures."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.daemon.thermal import ThermalGovernor, ThermalPolicy

_POLICY = ThermalPolicy(slow_above_c=75, calm_below_c=70, step_s=10)


def test_a_cool_board_runs_at_full_speed() -> None:
    governor = ThermalGovernor(_POLICY)
    assert [governor.sample(10.0 * i, 60) for i in range(5)] == [1.0] * 5


def test_a_hot_board_is_slowed_step_by_step() -> None:
    governor = ThermalGovernor(_POLICY)
    factors = [governor.sample(10.0 * i, 80) for i in range(20)]
    assert all(later < earlier or later == _POLICY.slowest for earlier, later in pairwise(factors))
    assert factors[-1] == _POLICY.slowest


def test_a_firmware_that_has_slowed_the_cpu_is_helped_whatever_the_temperature() -> None:
    assert ThermalGovernor(_POLICY).sample(0, None, is_slowed=True) < 1


def test_the_rate_does_not_change_faster_than_heat_flows() -> None:
    governor = ThermalGovernor(_POLICY)
    first = governor.sample(0, 80)
    assert governor.sample(9.9, 90) == first
    assert governor.sample(10, 90) < first


def test_between_the_limits_the_rate_is_held() -> None:
    governor = ThermalGovernor(_POLICY)
    slowed = governor.sample(0, 80)
    assert [governor.sample(10.0 * i, 72) for i in range(1, 10)] == [slowed] * 9


def test_another_policy_begins_where_the_last_one_was() -> None:
    governor = ThermalGovernor(_POLICY)
    slowed = governor.sample(0, 80)
    governor.adopt(ThermalPolicy(slow_above_c=90, calm_below_c=79, step_s=10))
    assert governor.factor == slowed
    assert governor.sample(10, 80) == slowed
    assert governor.sample(20, 78) > slowed


@given(st.lists(st.tuples(st.floats(0, 60), st.none() | st.floats(-20, 120), st.booleans()), max_size=80))
def test_whatever_the_temperature_the_rate_stays_in_bounds_and_comes_back(
    course: list[tuple[float, float | None, bool]],
) -> None:
    governor = ThermalGovernor(_POLICY)
    now_s = 0.0
    for pause_s, temperature_c, is_slowed in course:
        now_s += pause_s
        before = governor.factor
        factor = governor.sample(now_s, temperature_c, is_slowed=is_slowed)
        assert _POLICY.slowest <= factor <= 1
        if is_slowed or (temperature_c or 0) >= 75:
            assert factor <= before
    recovered = [governor.sample(now_s + 10.0 * i, 50) for i in range(1, 20)]
    assert recovered[-1] == 1

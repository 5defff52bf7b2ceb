"""Slowing down on a hot board: the governor alone, then made-up /sys trees and the pace set for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config.schema import ThermalConfig
from edge_agent.daemon.cooling import SAMPLE_S, Cooling, ThermalGovernor, ThermalPolicy
from edge_agent.pipeline.capture_loop import CapturePolicy
from edge_agent.system.board import Board

_POLICY = ThermalPolicy(slow_above_c=75, recover_below_c=70, step_s=10)


def sampled(
    governor: ThermalGovernor, now_s: float, temperature_c: float | None, *, is_slowed: bool = False
) -> float:
    """The factor after a sample."""
    governor.sample(now_s, temperature_c, is_slowed=is_slowed)
    return governor.factor


def test_a_cool_board_runs_at_full_speed() -> None:
    governor = ThermalGovernor(_POLICY)
    assert [sampled(governor, 10.0 * i, 60) for i in range(5)] == [1.0] * 5


def test_a_hot_board_is_slowed_step_by_step() -> None:
    governor = ThermalGovernor(_POLICY)
    factors = [sampled(governor, 10.0 * i, 80) for i in range(20)]
    assert all(later < earlier or later == _POLICY.slowest for earlier, later in pairwise(factors))
    assert factors[-1] == _POLICY.slowest


def test_a_firmware_that_has_slowed_the_cpu_is_helped_whatever_the_temperature() -> None:
    assert sampled(ThermalGovernor(_POLICY), 0, None, is_slowed=True) < 1


def test_the_rate_does_not_change_faster_than_heat_flows() -> None:
    governor = ThermalGovernor(_POLICY)
    first = sampled(governor, 0, 80)
    assert sampled(governor, 9.9, 90) == first
    assert sampled(governor, 10, 90) < first


def test_between_the_limits_the_rate_is_held() -> None:
    governor = ThermalGovernor(_POLICY)
    slowed = sampled(governor, 0, 80)
    assert [sampled(governor, 10.0 * i, 72) for i in range(1, 10)] == [slowed] * 9


def test_another_policy_begins_where_the_last_one_was() -> None:
    governor = ThermalGovernor(_POLICY)
    slowed = sampled(governor, 0, 80)
    governor.adopt(ThermalPolicy(slow_above_c=90, recover_below_c=79, step_s=10))
    assert governor.factor == slowed
    assert sampled(governor, 10, 80) == slowed
    assert sampled(governor, 20, 78) > slowed


@given(st.lists(st.tuples(st.floats(0, 60), st.none() | st.floats(-20, 120), st.booleans()), max_size=80))
def test_whatever_the_temperature_the_rate_stays_in_bounds_and_comes_back(
    course: list[tuple[float, float | None, bool]],
) -> None:
    governor = ThermalGovernor(_POLICY)
    now_s = 0.0
    for pause_s, temperature_c, is_slowed in course:
        now_s += pause_s
        before = governor.factor
        factor = sampled(governor, now_s, temperature_c, is_slowed=is_slowed)
        assert _POLICY.slowest <= factor <= 1
        if is_slowed or (temperature_c or 0) >= 75:
            assert factor <= before
    recovered = [sampled(governor, now_s + 10.0 * i, 50) for i in range(1, 20)]
    assert recovered[-1] == 1


_CONFIG = ThermalConfig(slow_above_c=75, calm_below_c=70)
_ZONE = "sys/class/thermal/thermal_zone0"
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


def pace(fps: float) -> CapturePolicy:
    return CapturePolicy(fps, reopen_min_s=1, reopen_max_s=60)


def cooling_of(root: Path, use_policy: Callable[[CapturePolicy], None]) -> Cooling:
    return Cooling(Board(root), _CONFIG, pace(2), use_policy)


@dataclass
class HotBoard:
    """A board under `root` whose figures the test sets, and what keeps it cool."""

    root: Path
    cooling: Cooling = field(init=False)
    now_s: float = 1000.0
    frames: int = 0
    config: ThermalConfig = _CONFIG
    paces_fps: list[float] = field(default_factory=list)
    """Each pace that was set."""

    def __post_init__(self) -> None:
        self.put(f"{_ZONE}/type", "cpu-thermal\n")
        self.cooling = cooling_of(self.root, lambda policy: self.paces_fps.append(policy.fps))

    def adopt(self, config: ThermalConfig) -> None:
        self.config = config
        self.cooling.adopt(config, pace(2))

    def pace_fps(self, fps: float) -> float:
        """The pace that follows from a configured one."""
        self.cooling.adopt(self.config, pace(fps))
        return self.paces_fps[-1]

    def put(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def pass_time(self, temperature_c: float, *, fps: float = 2.0, samples: int = 1) -> None:
        self.put(f"{_ZONE}/temp", f"{int(temperature_c * 1000)}\n")
        for _ in range(samples):
            self.cooling.sample(self.now_s, self.frames)
            self.now_s += SAMPLE_S
            self.frames += int(fps * SAMPLE_S)


@pytest.fixture
def board(tmp_path: Path) -> HotBoard:
    return HotBoard(tmp_path)


def test_a_cool_board_is_captured_from_at_the_configured_rate(board: HotBoard) -> None:
    board.pass_time(60, samples=3)
    assert (board.pace_fps(2), board.pace_fps(0), board.cooling.note) == (2, 0, "")
    assert board.cooling.health().pace_percent == 100


def test_a_hot_board_is_captured_from_more_slowly_and_says_so(board: HotBoard) -> None:
    board.pass_time(81, samples=2)
    assert board.pace_fps(2) == pytest.approx(0.98)
    assert board.cooling.note == "slowed to 49% (81 C)"
    health = board.cooling.health()
    assert health.temperature_c == 81
    assert health.pace_percent == pytest.approx(49)


def test_the_beginning_and_the_end_are_logged_once(board: HotBoard, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "edge_agent"):
        board.pass_time(60, samples=2)
        board.pass_time(80, samples=5)
        board.pass_time(50, samples=20)
    assert [record.getMessage() for record in caplog.records] == [
        "the board is hot: frames are taken at a lower rate",
        "the board has cooled down: frames are taken at the usual rate again",
    ]


def test_a_firmware_that_slowed_the_cpu_is_helped_and_named(
    board: HotBoard, caplog: pytest.LogCaptureFixture
) -> None:
    board.put(_FIRMWARE, "4\n")
    with caplog.at_level(logging.INFO, "edge_agent"):
        board.pass_time(60)
    assert board.cooling.factor < 1
    assert board.cooling.health().throttled is True
    assert caplog.records[0].getMessage() == (
        "the firmware has slowed the CPU: frames are taken at a lower rate"
    )


def test_a_source_without_a_rate_is_slowed_from_the_rate_it_had(board: HotBoard) -> None:
    board.pass_time(60, fps=8, samples=3)
    board.pass_time(80, fps=8)
    assert board.pace_fps(0) == pytest.approx(0.7 * 8)
    board.pass_time(80, fps=5)  # slowed by then: not the rate that it would have
    assert board.pace_fps(0) == pytest.approx(0.49 * 8)


def test_a_source_that_was_never_seen_running_is_slowed_once_its_rate_is_known(board: HotBoard) -> None:
    board.pass_time(90, fps=4)
    assert board.pace_fps(0) == 0
    board.pass_time(90)
    assert board.pace_fps(0) == pytest.approx(0.49 * 4)


def test_switched_off_it_only_reports(board: HotBoard) -> None:
    board.adopt(ThermalConfig(enabled=False))
    board.pass_time(95, samples=5)
    assert board.pace_fps(2) == 2
    assert board.cooling.health().temperature_c == 95


def test_what_is_switched_off_while_it_slows_is_at_full_speed_at_once(board: HotBoard) -> None:
    board.pass_time(80, samples=3)
    board.adopt(ThermalConfig(enabled=False))
    assert (board.cooling.factor, board.cooling.note) == (1, "")


def test_other_limits_hold_from_the_next_sample_on(board: HotBoard) -> None:
    board.pass_time(60)
    board.adopt(ThermalConfig(slow_above_c=50, calm_below_c=40))
    board.pass_time(60)
    assert board.cooling.factor < 1


def test_a_board_without_sensors_is_never_slowed(tmp_path: Path) -> None:
    paces: list[CapturePolicy] = []
    cooling = cooling_of(tmp_path, paces.append)
    for i in range(5):
        cooling.sample(i * SAMPLE_S, i)
    assert paces == []
    assert (cooling.health().temperature_c, cooling.health().throttled) == (None, None)


def test_the_pace_is_set_when_it_changes_and_not_with_each_sample(board: HotBoard) -> None:
    board.pass_time(60, samples=3)
    board.pass_time(80, samples=2)
    board.pass_time(72, samples=3)
    board.pass_time(50, samples=6)
    assert board.paces_fps == pytest.approx([1.4, 0.98, 1.176, 1.4112, 1.69344, 2.0])


def test_an_edit_of_the_rate_is_slowed_as_well(board: HotBoard) -> None:
    board.pass_time(80)
    board.cooling.adopt(_CONFIG, pace(4))
    assert board.paces_fps == pytest.approx([1.4, 2.8])


def test_the_firmware_s_word_is_passed_on(board: HotBoard) -> None:
    board.put(_FIRMWARE, "a0002\n")
    board.pass_time(60)
    health = board.cooling.health()
    assert (health.frequency_capped, health.throttled) == (True, False)
    assert health.occurred == ("frequency_capped", "soft_temperature_limit")


def test_a_board_without_firmware_is_reported_as_unknown_not_as_fine(board: HotBoard) -> None:
    board.pass_time(51.5)
    health = board.cooling.health()
    assert (health.temperature_c, health.throttled, health.under_voltage) == (51.5, None, None)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(20, 100), st.integers(0, 50)), max_size=40),
    st.just(0.0) | st.floats(0.1, 60),
)
def test_whatever_the_board_does_the_pace_is_between_a_tenth_and_the_usual_one(
    tmp_path_factory: pytest.TempPathFactory, course: list[tuple[float, int]], fps: float
) -> None:
    board = HotBoard(tmp_path_factory.mktemp("board"))
    for temperature_c, rate in course:
        board.pass_time(temperature_c, fps=rate)
        pace_fps = board.pace_fps(fps)
        assert pace_fps >= 0
        if fps:
            assert 0.0999 * fps <= pace_fps <= fps

"""Slowing down on a hot board: made-up /sys trees, and the pace that follows from them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config.schema import ThermalConfig
from edge_agent.daemon.cooling import SAMPLE_S, Cooling
from edge_agent.system.board import Board

_CONFIG = ThermalConfig(slow_above_c=75, calm_below_c=70)
_ZONE = "sys/class/thermal/thermal_zone0"
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


@dataclass
class HotBoard:
    """A board under `root` whose figures the test sets, and what keeps it cool."""

    root: Path
    cooling: Cooling = field(init=False)
    now_s: float = 1000.0
    frames: int = 0

    def __post_init__(self) -> None:
        self.put(f"{_ZONE}/type", "cpu-thermal\n")
        self.cooling = Cooling(Board(self.root), _CONFIG)

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
    assert (board.cooling.pace_fps(2), board.cooling.pace_fps(0), board.cooling.note) == (2, 0, "")
    assert board.cooling.health().pace_percent == 100


def test_a_hot_board_is_captured_from_more_slowly_and_says_so(board: HotBoard) -> None:
    board.pass_time(81, samples=2)
    assert board.cooling.pace_fps(2) == pytest.approx(0.98)
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
    assert board.cooling.pace_fps(0) == pytest.approx(0.7 * 8)
    board.pass_time(80, fps=5)  # slowed by then: not the rate that it would have
    assert board.cooling.pace_fps(0) == pytest.approx(0.49 * 8)


def test_a_source_that_was_never_seen_running_is_slowed_once_its_rate_is_known(board: HotBoard) -> None:
    board.pass_time(90, fps=4)
    assert board.cooling.pace_fps(0) == 0
    board.pass_time(90)
    assert board.cooling.pace_fps(0) == pytest.approx(0.49 * 4)


def test_switched_off_it_only_reports(board: HotBoard) -> None:
    board.cooling.adopt(ThermalConfig(enabled=False))
    board.pass_time(95, samples=5)
    assert board.cooling.pace_fps(2) == 2
    assert board.cooling.health().temperature_c == 95


def test_what_is_switched_off_while_it_slows_is_at_full_speed_at_once(board: HotBoard) -> None:
    board.pass_time(80, samples=3)
    board.cooling.adopt(ThermalConfig(enabled=False))
    assert (board.cooling.factor, board.cooling.note) == (1, "")


def test_other_limits_hold_from_the_next_sample_on(board: HotBoard) -> None:
    board.pass_time(60)
    board.cooling.adopt(ThermalConfig(slow_above_c=50, calm_below_c=40))
    board.pass_time(60)
    assert board.cooling.factor < 1


def test_a_board_without_sensors_is_never_slowed(tmp_path: Path) -> None:
    cooling = Cooling(Board(tmp_path), _CONFIG)
    for i in range(5):
        cooling.sample(i * SAMPLE_S, i)
    assert cooling.pace_fps(2) == 2
    assert (cooling.health().temperature_c, cooling.health().throttled) == (None, None)


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
        pace_fps = board.cooling.pace_fps(fps)
        assert pace_fps >= 0
        if fps:
            assert 0.0999 * fps <= pace_fps <= fps

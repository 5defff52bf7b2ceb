"""The schedule: hours of the local day, over midnight too, and light with hysteresis."""

from __future__ import annotations

import calendar
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.config.schema import PeriodConfig, ScheduleConfig
from edge_agent.pipeline.opening import Periods, opening_of

MINUTES = st.integers(0, 1439)


def at(clock: str) -> float:
    hour, minute = clock.split(":")
    return (int(hour) * 60 + int(minute)) * 60.0


def is_open(config: ScheduleConfig, clock: str) -> bool:
    return opening_of(config, time.gmtime).is_open(grey(128), at(clock))


def grey(brightness: int) -> NDArray[np.uint8]:
    return np.full((240, 320, 3), brightness, np.uint8)


@pytest.mark.parametrize(
    ("hours", "opens", "closes"),
    [
        (("07:00-22:30",), ("07:00", "12:00", "22:29"), ("06:59", "22:30", "00:00")),
        (("22:00-06:00",), ("22:00", "00:00", "05:59"), ("06:00", "21:59")),
        (("08:00-09:00", "17:00-24:00"), ("08:30", "23:59"), ("09:00", "16:59", "00:00")),
        (("00:00-24:00",), ("00:00", "23:59"), ()),
        ((), ("00:00", "12:00"), ()),
    ],
)
def test_hours_begin_with_their_first_minute_and_end_before_their_last(
    hours: tuple[str, ...], opens: tuple[str, ...], closes: tuple[str, ...]
) -> None:
    config = ScheduleConfig(hours=hours)
    assert all(is_open(config, clock) for clock in opens)
    assert not any(is_open(config, clock) for clock in closes)


@given(MINUTES, MINUTES, MINUTES)
def test_hours_over_midnight_are_those_that_are_closed_by_day(begin: int, end: int, now: int) -> None:
    def span(one: int, other: int) -> ScheduleConfig:
        return ScheduleConfig(hours=(f"{one // 60:02}:{one % 60:02}-{other // 60:02}:{other % 60:02}",))

    if begin != end:
        clock = f"{now // 60}:{now % 60}"
        assert is_open(span(begin, end), clock) is not is_open(span(end, begin), clock)


@pytest.mark.parametrize(
    ("hours", "in_spring", "in_autumn"),
    [("01:30-03:30", 60, 180), ("02:00-03:00", 0, 120), ("22:00-06:00", 420, 540)],
)
def test_the_clock_on_the_wall_counts_when_summer_time_begins_and_ends(
    hours: str, in_spring: int, in_autumn: int
) -> None:
    summer = (calendar.timegm((2026, 3, 29, 1, 0, 0)), calendar.timegm((2026, 10, 25, 1, 0, 0)))

    def in_berlin(time_s: float) -> time.struct_time:
        return time.gmtime(time_s + (7200 if summer[0] <= time_s < summer[1] else 3600))

    opening, half_a_day = (
        opening_of(ScheduleConfig(hours=(hours,)), in_berlin),
        range(-720 * 60, 720 * 60, 60),
    )
    open_minutes = [
        sum(opening.is_open(grey(128), change_s + offset_s) for offset_s in half_a_day) for change_s in summer
    ]
    assert open_minutes == [in_spring, in_autumn]


@pytest.mark.parametrize("light", ["day", "night"])
def test_a_picture_on_the_edge_of_night_does_not_flap(light: str) -> None:
    opening = opening_of(ScheduleConfig(light=light, night_below=40))  # type: ignore[arg-type]
    seen = [opening.is_open(grey(brightness), 0.0) for brightness in (100, 41, 39, 41, 43, 44, 41)]
    is_night = [False, False, True, True, True, False, False]
    assert seen == [each is (light == "night") for each in is_night]


def test_only_where_there_is_a_schedule_is_there_one_to_speak_of() -> None:
    assert not opening_of(ScheduleConfig()).is_scheduled
    assert opening_of(ScheduleConfig(hours=("07:00-08:00",))).is_scheduled
    assert opening_of(ScheduleConfig(light="day")).is_scheduled


PERIODS = {
    "dusk": PeriodConfig(hours=("19:00-22:00",), light="night"),
    "night": PeriodConfig(light="night"),
    "morning": PeriodConfig(hours=("06:00-10:00",)),
}


@pytest.mark.parametrize(
    ("brightness", "clock", "period"),
    [(20, "20:00", "dusk"), (20, "02:00", "night"), (20, "07:00", "night"), (90, "07:00", "morning")],
)
def test_of_several_periods_the_first_that_it_is_counts(brightness: int, clock: str, period: str) -> None:
    periods = Periods(PERIODS, 40.0, time.gmtime)
    assert periods.at(grey(brightness), at(clock)) == period
    assert periods.of(brightness, at(clock)) == period


def test_at_other_times_it_is_no_period() -> None:
    periods = Periods(PERIODS, 40.0, time.gmtime)
    assert (periods.at(grey(90), at("12:00")), periods.of(90.0, at("12:00"))) == ("", "")


def test_every_period_sees_every_frame_so_that_none_flaps() -> None:
    periods = Periods(PERIODS, 40.0, time.gmtime)
    seen = [periods.at(grey(brightness), at("20:00")) for brightness in (39, 43, 45, 43)]
    assert seen == ["dusk", "dusk", "", ""]

"""Whether it is a time that the owner has named: by the hours of the day, and by day or night. Pure, but for
the local time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import PeriodConfig, ScheduleConfig
from edge_agent.pipeline.brightness import brightness_of

_DAY_FROM = 1.1  # times night_below: a picture on the edge does not flap

Local = Callable[[float], time.struct_time]
"""Returns the local time of seconds since 1970."""


class Opening:
    """Says of each frame whether it is the time. Used by one thread."""

    def __init__(
        self,
        hours: Sequence[str],
        light: Literal["any", "day", "night"],
        night_below: float,
        local: Local = time.localtime,
    ) -> None:
        """As `config.schema.ScheduleConfig` has them."""
        self._hours = tuple(_minutes(span) for span in hours)
        self._light = light
        self._night_below = night_below
        self._local = local
        self._was_night = False

    @property
    def is_scheduled(self) -> bool:
        """Whether there are other times at all."""
        return bool(self._hours) or self._light != "any"

    def is_open(self, pixels: NDArray[np.uint8], time_s: float) -> bool:
        """Whether it is the time for a frame, shape (height, width, 3), uint8, seen at that time, in seconds
        since 1970. Call it for every frame, in order."""
        return self.is_open_at(lambda: brightness_of(pixels), time_s)

    def is_open_at(self, brightness: Callable[[], float], time_s: float) -> bool:
        """The same of a picture whose brightness is looked at only where light matters."""
        return self._is_light(brightness) and self._is_hour(time_s)

    def covers(self, brightness: float, time_s: float) -> bool:
        """Whether it was the time for a picture of that mean brightness, 0 to 255, that was taken then."""
        is_light = self._light == "any" or (brightness < self._night_below) == (self._light == "night")
        return is_light and self._is_hour(time_s)

    def _is_hour(self, time_s: float) -> bool:
        if not self._hours:
            return True
        local = self._local(time_s)
        now = local.tm_hour * 60 + local.tm_min
        return any(
            begin <= now < end if begin < end else now >= begin or now < end for begin, end in self._hours
        )

    def _is_light(self, brightness: Callable[[], float]) -> bool:
        if self._light == "any":
            return True
        edge = self._night_below * (_DAY_FROM if self._was_night else 1.0)
        self._was_night = brightness() < edge
        return self._was_night == (self._light == "night")


def opening_of(schedule: ScheduleConfig, local: Local = time.localtime) -> Opening:
    """When labels are published."""
    return Opening(schedule.hours, schedule.light, schedule.night_below, local)


class Periods:
    """Says which of the owner's periods it is. Used by one thread."""

    def __init__(
        self, periods: Mapping[str, PeriodConfig], night_below: float, local: Local = time.localtime
    ) -> None:
        self._openings = {
            name: Opening(period.hours, period.light, night_below, local) for name, period in periods.items()
        }

    def at(self, pixels: NDArray[np.uint8], time_s: float) -> str:
        """The first period that it is for a frame, see `Opening.is_open`; empty where it is none."""
        brightness = cache(lambda: brightness_of(pixels))  # several periods look at one picture
        present = [name for name, each in self._openings.items() if each.is_open_at(brightness, time_s)]
        return present[0] if present else ""

    def of(self, brightness: float, time_s: float) -> str:
        """The first period that a picture was taken in, see `Opening.covers`; empty where it is none."""
        return next((name for name, each in self._openings.items() if each.covers(brightness, time_s)), "")


def _minutes(span: str) -> tuple[int, int]:
    """`07:00-22:30` as minutes of the day; where both are the same, it is the whole day."""
    begin, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in span.split("-"))
    return begin, end

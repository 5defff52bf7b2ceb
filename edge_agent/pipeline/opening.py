"""When labels are published: by the hours of the day, and by day or night. Pure, but for the local time."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import ScheduleConfig
from edge_agent.pipeline.brightness import brightness_of

_DAY_FROM = 1.1  # times night_below: a picture on the edge does not flap


class Opening:
    """Says of each frame whether labels are published. Used by one thread."""

    def __init__(
        self, config: ScheduleConfig, local: Callable[[float], time.struct_time] = time.localtime
    ) -> None:
        """`local` returns the local time of seconds since 1970."""
        self._config = config
        self._hours = tuple(_minutes(span) for span in config.hours)
        self._local = local
        self._is_night: bool | None = None

    @property
    def is_scheduled(self) -> bool:
        """Whether there is a schedule at all."""
        return bool(self._hours) or self._config.light != "any"

    def is_open(self, pixels: NDArray[np.uint8], time_s: float) -> bool:
        """Whether labels are published of a frame, shape (height, width, 3), uint8, seen at that time, in
        seconds since 1970. Call it for every frame, in order."""
        return self._is_light(pixels) and self._is_hour(time_s)

    def _is_hour(self, time_s: float) -> bool:
        if not self._hours:
            return True
        local = self._local(time_s)
        now = local.tm_hour * 60 + local.tm_min
        return any(
            begin <= now < end if begin < end else now >= begin or now < end for begin, end in self._hours
        )

    def _is_light(self, pixels: NDArray[np.uint8]) -> bool:
        if self._config.light == "any":
            return True
        edge = self._config.night_below * (_DAY_FROM if self._is_night else 1.0)
        self._is_night = brightness_of(pixels) < edge
        return self._is_night == (self._config.light == "night")


def _minutes(span: str) -> tuple[int, int]:
    """`07:00-22:30` as minutes of the day; where both are the same, it is the whole day."""
    begin, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in span.split("-"))
    return begin, end

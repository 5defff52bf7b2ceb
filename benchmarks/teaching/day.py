"""Days and moments: weather, light and what a camera suffers. A day is a seed; a moment is an hour of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.teaching.pen import Chance

Weather = Literal["clear", "cloudy", "rain", "fog", "snow"]

_WEATHERS: tuple[Weather, ...] = ("clear", "cloudy", "rain", "fog", "snow")
_HOW_OFTEN = (0.4, 0.3, 0.15, 0.08, 0.07)


@dataclass(frozen=True, slots=True)
class Day:
    """What stays the same from morning to night."""

    seed: int
    weather: Weather
    sunrise_h: float
    sunset_h: float
    warmth: float
    """The cast of the camera's white balance, about -1 (blue) to 1 (orange)."""
    exposure: float
    """About 1."""
    shift: tuple[float, float]
    """How far the camera has been knocked, in pixels of the canvas."""
    turn_deg: float
    zoom: float

    def chance(self, *purpose: int) -> Chance:
        """Random numbers of this day for a purpose: the same for the same."""
        return np.random.default_rng((self.seed, *purpose))


@dataclass(frozen=True, slots=True)
class Light:
    """What falls on the scene at an hour."""

    sun: float
    """The height of the sun, 0 (set) to 1."""
    sun_x: float
    """Where it stands, -1 (east, to the left) to 1."""
    is_night: bool


def day_of(scene: str, number: int) -> Day:
    """The day of that number at a scene."""
    seed = int.from_bytes(scene.encode(), "little") % (1 << 31) * 1000 + number
    chance = np.random.default_rng((seed, 1))
    return Day(
        seed=seed,
        weather=_WEATHERS[int(chance.choice(len(_WEATHERS), p=_HOW_OFTEN))],
        sunrise_h=float(chance.uniform(5.2, 8.2)),
        sunset_h=float(chance.uniform(16.5, 21.2)),
        warmth=float(np.clip(chance.normal(0, 0.45), -1, 1)),
        exposure=float(chance.uniform(0.8, 1.25)),
        shift=(float(chance.normal(0, 4)), float(chance.normal(0, 3))),
        turn_deg=float(chance.normal(0, 0.7)),
        zoom=float(chance.uniform(0.985, 1.02)),
    )


def light_at(day: Day, hour: float) -> Light:
    """The light of a day at an hour, 0 to 24."""
    share = (hour - day.sunrise_h) / (day.sunset_h - day.sunrise_h)
    sun = math.sin(math.pi * share) if 0 < share < 1 else 0.0
    return Light(sun, min(max(2 * share - 1, -1.0), 1.0), sun < 0.06)

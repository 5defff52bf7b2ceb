"""Which frames of a scene are taught and judged: on different days, at hours by day and by night."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.teaching.day import Day, day_of, light_at
from benchmarks.teaching.pen import Chance
from benchmarks.teaching.scene import Moment, Scene

IN_BURST = 2
"""Frames that an owner takes in one go."""

_FIRST_JUDGED_DAY = 1000
_FIRST_WATCHED_DAY = 2000


@dataclass(frozen=True, slots=True)
class Size:
    """How much is rendered."""

    taught_days: int = 12
    judged_days: int = 12
    judged_hours: int = 6
    """Frames a day of each label, spread over day and night."""
    stranger_hours: int = 3
    watched_days: int = 1
    watched_every_min: int = 5


QUICK = Size(taught_days=6, judged_days=3, judged_hours=3, stranger_hours=2, watched_every_min=20)


@dataclass(frozen=True, slots=True)
class Watched:
    """A frame of a day that is watched from its beginning to its end."""

    moment: Moment
    minute: int
    """Since the beginning of the first day."""


def taught(scene: Scene, size: Size) -> list[Moment]:
    """Bursts of every label on each of the days: one by day, and one at night."""
    return [
        Moment(label, day, _hour(day_of(scene.name, day), at_night, label), visit, number)
        for label in scene.labels
        for day in range(size.taught_days)
        for visit, at_night in enumerate((False, True))
        for number in range(IN_BURST)
    ]


def judged(scene: Scene, size: Size) -> list[Moment]:
    """Frames of every label on days of which none was taught."""
    return _spread(scene, list(scene.labels), size.judged_days, size.judged_hours)


def strangers(scene: Scene, size: Size) -> list[Moment]:
    """Frames of what was never taught, on the days that are judged."""
    return _spread(scene, list(scene.strangers), size.judged_days, size.stranger_hours)


def watched(scene: Scene, size: Size) -> list[Watched]:
    """Whole days, on which states change now and then, and two strangers come for a while."""
    found = []
    for number in range(size.watched_days):
        day = _FIRST_WATCHED_DAY + number
        for visit, (state, first, last) in enumerate(_programme(scene, day_of(scene.name, day).chance(8))):
            for minute in range(first, last, size.watched_every_min):
                moment = Moment(state, day, minute / 60, visit, minute)
                found.append(Watched(moment, number * 1440 + minute))
    return found


def _hour(day: Day, at_night: bool, label: str) -> float:
    """An hour at which somebody is about, by day or at night."""
    chance = day.chance(9, at_night, *label.encode())
    while True:
        hour = float(chance.uniform(5.0, 24.0))
        if light_at(day, hour).is_night == at_night:
            return hour


def _spread(scene: Scene, states: list[str], days: int, hours: int) -> list[Moment]:
    found = []
    for state in states:
        for number in range(days):
            day = _FIRST_JUDGED_DAY + number
            chance = day_of(scene.name, day).chance(10, *state.encode())
            for visit in range(hours):
                hour = 24 * (visit + float(chance.random())) / hours
                found.append(Moment(state, day, hour, visit))
    return found


def _programme(scene: Scene, chance: Chance) -> Iterator[tuple[str, int, int]]:
    """State, first minute and minute after the last, one after the other from 0 to 1440."""
    changes = sorted(int(minute) // 20 * 20 for minute in chance.choice(1400, 7, replace=False))
    edges = [0, *sorted({*changes} - {0}), 1440]
    visited = {int(place) for place in chance.choice(len(edges) - 1, 2, replace=False)}
    state = ""
    for place, (first, last) in enumerate(pairwise(edges)):
        others = [label for label in scene.labels if label != state]
        state = others[int(chance.integers(len(others)))]
        middle = (first + last) // 40 * 20
        if place in visited and last - first >= 60:
            kinds = sorted(scene.strangers)
            yield state, first, middle
            yield kinds[int(chance.integers(len(kinds)))], middle, middle + 20
            yield state, middle + 20, last
        else:
            yield state, first, last

"""A wave is judged by its own devices, before and after, and by the wave before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge_agent.tools.fleet.devices import Device
from edge_agent.tools.fleet.judge import Limits, Seen, objections

NOW_S = 1_000_000.0
BEFORE = Device(
    "porch", NOW_S - 200, uptime_s=5000, camera="running", memory_state="ok", unknown_percent=5,
    groups=(("all", "old"),),
)  # fmt: skip
AFTER = replace(BEFORE, health_at_s=NOW_S - 10, uptime_s=5190, groups=(("all", "new"),))


def judged(former: float | None = None, count: int = 1, **after: Any) -> list[str]:
    seen = [Seen(BEFORE, AFTER, 190, NOW_S) for _ in range(count - 1)]
    return objections(
        [*seen, Seen(BEFORE, replace(AFTER, **after), 190, NOW_S)], "all", "new", Limits(), former
    )


def test_a_wave_that_is_as_before_is_good() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"refused": "all: settings: no"}, "refuses"),
        ({"groups": (("all", "old"),)}, "has not taken it"),
        ({"health_at_s": NOW_S - 500}, "gone"),
        ({"health_at_s": None}, "gone"),
        ({"uptime_s": 20}, "restarted"),
        ({"camera": "reopening"}, "camera"),
        ({"memory_state": "hard"}, "memory"),
        ({"unknown_percent": 40}, "unknown rose from 5 to 40 %"),
    ],
)
def test_whatever_is_worse_is_said(after: dict[str, Any], said: str) -> None:
    assert said in " ".join(judged(**after))


def test_a_rise_that_the_wave_before_had_as_well_is_no_reason() -> None:
    assert judged(former=35, unknown_percent=40) == []
    assert judged(former=20, unknown_percent=40) == ["unknown rose from 20 to 40 %"]


def test_one_of_many_may_be_gone() -> None:
    assert judged(count=40, health_at_s=NOW_S - 500) == []


def test_what_a_device_does_not_say_is_not_held_against_it() -> None:
    assert judged(unknown_percent=None, uptime_s=None) == []

"""An agent with another model is judged by what it says of whole intervals since the change."""

from __future__ import annotations

from dataclasses import replace

from edge_agent.tools.fleet.devices import Device
from edge_agent.tools.installer.watch import Switch, has_started, objections

BEFORE = Device(
    "porch",
    health_at_s=1000.0,
    uptime_s=900.0,
    camera="running",
    memory_state="ok",
    unknown_percent=5.0,
    model="a 1",
)
SWITCH = Switch(BEFORE, "2", 1010.0)
FIRST = replace(BEFORE, health_at_s=1020.0, uptime_s=2.0, unknown_percent=None, model="b 2")


def after(seconds: float, unknown: float | None) -> Device:
    return replace(
        FIRST, health_at_s=1020.0 + seconds, uptime_s=2.0 + seconds, unknown_percent=unknown, interval_s=60.0
    )


def test_it_has_started_once_it_says_so_itself() -> None:
    assert has_started(SWITCH, FIRST)
    assert not has_started(SWITCH, BEFORE)


def test_the_first_frame_alone_is_not_judged_and_a_whole_interval_is() -> None:
    assert objections(SWITCH, FIRST, after(1, 100.0), 1022.0) == []
    assert objections(SWITCH, FIRST, after(61, 5.0), 1082.0) == []
    assert objections(SWITCH, FIRST, after(61, 90.0), 1082.0) == ["unknown rose from 5 to 90 %"]


def test_another_start_and_the_old_model_are_worse() -> None:
    again = replace(after(61, 5.0), uptime_s=3.0)
    assert objections(SWITCH, FIRST, again, 1082.0) == ["it has restarted"]
    back = replace(after(61, 5.0), model="a 1")
    assert "it runs a 1 again" in objections(SWITCH, FIRST, back, 1082.0)[0]

"""Says whether an agent is worse with another model, by what it publishes itself. Does no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.tools.fleet.devices import Device
from edge_agent.tools.fleet.judge import Limits, Seen, ailments, unknown_objection

_MOST_OF_INTERVAL = 0.9


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of the model at `at_s`, in seconds since 1970."""

    before: Device
    """What was known of the agent until then."""
    model: str
    """The beginning of the new model's hash, 8 digits."""
    at_s: float


def has_started(switch: Switch, device: Device) -> bool:
    """Whether the agent runs the new model, and has said since how it is."""
    is_recent = device.health_at_s is not None and device.health_at_s > switch.at_s
    is_new = device.uptime_s is not None and device.health_at_s is not None
    started_s = (device.health_at_s or 0.0) - (device.uptime_s or 0.0)
    runs = device.model.endswith(switch.model)
    return runs and is_recent and is_new and started_s >= switch.at_s - 1.0 and device.camera != ""


def objections(switch: Switch, first: Device, now: Device, now_s: float) -> list[str]:
    """Why the agent is worse; empty where it is not. `first` is how it was when it had started."""
    seen = Seen(switch.before, now, now_s - switch.at_s, now_s)
    if not seen.is_there:
        return ["it has not said for a while how it is: it may have died"]
    found = []
    if not now.model.endswith(switch.model):
        found.append(f"it runs {now.model} again: it could not go on with the new one")
    elif _started_s(now) > _started_s(first) + 1.0:
        found.append("it has restarted")
    found += ailments(seen)
    if _has_settled(first, now):
        found += unknown_objection([seen], Limits(), None)
    return found


def _has_settled(first: Device, now: Device) -> bool:
    """Whether its `health` is of a whole interval: the votes about the very first frame are not complete, and
    that frame alone makes a share of 100 % unknown."""
    return (now.uptime_s or 0.0) >= (first.uptime_s or 0.0) + _MOST_OF_INTERVAL * now.interval_s


def _started_s(device: Device) -> float:
    return (device.health_at_s or 0.0) - (device.uptime_s or 0.0)

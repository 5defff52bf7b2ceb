"""What is known of each device, from what it publishes: bounded and escaped, whatever it is. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.system.text import printable

KINDS = ("health", "info", "state", "availability", "event")
"""The topics of a device that are followed."""

MISSED = 3
"""A device whose health is older than so many of its intervals is gone."""

_INTERVAL_S = 60.0
_LONGEST = 80
_MOST = 16  # groups of a device
_LARGEST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Device:
    """A device; None or empty for what it has not said."""

    name: str
    health_at_s: float | None = None
    """When its latest `health` came, in seconds since 1970, by the clock of whoever received it."""
    interval_s: float = _INTERVAL_S
    uptime_s: float | None = None
    camera: str = ""
    memory_mb: float | None = None
    memory_state: str = ""
    temperature_c: float | None = None
    unknown_percent: float | None = None
    queued_events: int | None = None
    broker: str = ""
    version: str = ""
    model: str = ""
    groups: tuple[tuple[str, str], ...] = ()
    """Each group with the revision that the device has."""
    sequences: Mapping[str, int] = field(default_factory=dict)
    """The number of each group's latest document that the device has read."""
    pending: tuple[str, ...] = ()
    """The groups whose model the device is still fetching or trying."""
    refused: str = ""
    """What the device refuses of its groups' state; empty where nothing."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Its configuration as `info` shows it, nested."""
    label: str = ""
    availability: str = ""
    last_event_seq: int | None = None

    def age_s(self, now_s: float) -> float | None:
        """How old its health is; None before the first."""
        return None if self.health_at_s is None else max(now_s - self.health_at_s, 0.0)

    def is_there(self, now_s: float) -> bool:
        """Whether its health is recent: a broker that was killed publishes no last will."""
        age_s = self.age_s(now_s)
        return age_s is not None and age_s <= MISSED * self.interval_s

    def with_payload(self, kind: str, payload: bytes, at_s: float) -> Device:
        """The device after a message of `kind`. Raises ValueError for one that cannot be read."""
        if kind == "availability":
            return replace(self, availability=_text(payload.decode("utf-8", "replace")))
        given = _object(payload)
        match kind:
            case "health":
                return self._with_health(given, at_s)
            case "info":
                return self._with_info(given)
            case "state":
                return replace(self, label=_text(given.get("label")))
            case "event":
                return replace(self, last_event_seq=sequence_of(given), label=_text(given.get("to")))
        return self

    def _with_health(self, given: Mapping[str, Any], at_s: float) -> Device:
        memory, board, mqtt = (_part(given, name) for name in ("memory", "board", "mqtt"))
        queued = _number(mqtt.get("queued_events"))
        return replace(
            self,
            health_at_s=at_s,
            interval_s=_number(given.get("interval_s")) or _INTERVAL_S,
            uptime_s=_number(given.get("uptime_s")),
            camera=_text(_part(given, "camera").get("state")),
            memory_mb=_number(memory.get("rss_mb")),
            memory_state=_text(memory.get("state")),
            temperature_c=_number(board.get("temperature_c")),
            unknown_percent=_number(given.get("unknown_percent")),
            queued_events=None if queued is None else int(queued),
            broker=_text(mqtt.get("broker")),
        )

    def _with_info(self, given: Mapping[str, Any]) -> Device:
        model = _part(given, "model")
        groups = _objects(given.get("groups"))
        refused = [
            f"{_text(each.get('group'))}: {_text(part.get('what'))}: {printable(str(part.get('why')), 200)}"
            for each in groups
            for part in _objects(each.get("refused"))
        ]
        return replace(
            self,
            version=_text(given.get("version")),
            model=f"{_text(model.get('name'))} {_text(model.get('sha256'))[:8]}".strip(),
            groups=tuple((_text(each.get("group")), _text(each.get("revision"))) for each in groups),
            sequences={_text(each.get("group")): int(_number(each.get("sequence")) or 0) for each in groups},
            pending=tuple(_text(each.get("group")) for each in groups if each.get("pending") is True),
            refused="; ".join(refused),
            settings=_part(given, "config"),
        )


def sequence_of(given: Mapping[str, Any]) -> int:
    """The number of an event. Raises ValueError where it has none."""
    seq = given.get("seq")
    if type(seq) is not int or not 0 <= seq < 2**63:
        raise ValueError("an event without a number")
    return seq


def event_sequence(payload: bytes) -> int:
    """The number of the event in a payload. Raises ValueError."""
    return sequence_of(_object(payload))


def _object(payload: bytes) -> dict[str, Any]:
    if len(payload) > _LARGEST_BYTES:
        raise ValueError("larger than anything that a device publishes")
    try:
        given = json.loads(payload)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(given, dict):
        raise ValueError("no JSON object")
    return given


def _part(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = given.get(name)
    return part if isinstance(part, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)][:_MOST] if isinstance(value, list) else []


def _text(value: object) -> str:
    return printable(value, _LONGEST) if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    """A finite number; JSON as Python reads it has others, too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e15 else None  # type: ignore[arg-type]

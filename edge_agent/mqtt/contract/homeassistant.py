"""Home Assistant's device-based discovery: one retained message makes the device appear with all entities.

The format: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Self

from edge_agent import __version__
from edge_agent.config.override import declared
from edge_agent.config.rules import UNKNOWN
from edge_agent.config.schema import Config, HomeAssistantConfig
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import dump
from edge_agent.mqtt.contract.topics import Topics

_BIRTH = b"online"
_ORIGIN = "edge-agent"
_LONGEST_STATE = 255  # characters that Home Assistant takes as an entity's state
_LONGEST_LABEL = 64

# The empty message that removes a kept one may come before Home Assistant has removed its entity.
_LABEL = f"{{{{ value_json.label[:{_LONGEST_STATE}] if value_json is defined else none }}}}"
_TOP_LABELS = (
    "{% if value_json is defined %}{% set ns = namespace(top={}) %}{% for entry in value_json.top %}"
    "{% set ns.top = dict(ns.top, **{'top_' ~ loop.index: entry.label,"
    " 'top_' ~ loop.index ~ '_score': entry.score | round(2)}) %}"
    "{% endfor %}{{ ns.top | tojson }}{% else %}{}{% endif %}"
)
_AS_IT_IS = "{{ value_json | tojson if value_json is defined else '{}' }}"


_Availability = tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """The board, as Home Assistant shows it; empty for what is not known."""

    model: str = ""
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Component:
    """One entity of the device, in Home Assistant's own terms; None is left out."""

    key: str
    platform: str
    name: str
    state_topic: str | None = None
    value_template: str | None = None
    device_class: str | None = None
    unit_of_measurement: str | None = None
    state_class: str | None = None
    suggested_display_precision: int | None = None
    entity_category: str | None = None
    icon: str | None = None
    json_attributes_topic: str | None = None
    json_attributes_template: str | None = None
    command_topic: str | None = None
    payload_on: str | None = None
    payload_off: str | None = None
    state_on: str | None = None
    state_off: str | None = None
    event_types: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None
    command_template: str | None = None
    payload_press: str | None = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    mode: str | None = None
    enabled_by_default: bool | None = None
    availability: _Availability | None = None
    availability_mode: str | None = None
    image_topic: str | None = None
    content_type: str | None = None

    def payload(self, device: str) -> dict[str, Any]:
        """Its part of the discovery message; `device` is what the ids of all its entities begin with."""
        given = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "key"}
        own = {name: value for name, value in given.items() if value is not None}
        # Shared options do not cover the quality of service: without it events would come with QoS 0.
        return own | {"unique_id": f"{device}_{self.key}", "qos": 1}

    def removal(self) -> dict[str, Any]:
        """Its part if it is switched off: the platform alone removes an entity from an earlier message."""
        return {"platform": self.platform}


class Discovery:
    """The discovery message of one device."""

    def __init__(
        self,
        config: HomeAssistantConfig,
        topics: Topics,
        *,
        control: bool,
        image: bool,
        event_image: bool = False,
        allow: tuple[str, ...] = (),
        board: Identity = Identity(),
        watched: tuple[str, ...] = ("",),
        gone: tuple[str, ...] = (),
        lessons: Mapping[str, tuple[str, ...]] = {},
    ) -> None:
        """`control`: requests are answered; `image`: pictures are published, `event_image`: those of events;
        `allow`: the only labels, empty for any; `watched` are the regions, or one empty name for the whole
        picture, `gone` those that an earlier message may have named; `lessons` are the labels of those that
        can be taught, by requests too where they are answered."""
        self._config = config
        self._topics = topics
        self._control = control
        self._image = image
        self._event_image = event_image
        self._allow = allow
        self._board = board
        self._watched = watched
        self._gone = gone
        self._lessons = lessons

    @classmethod
    def from_config(
        cls,
        config: Config,
        topics: Topics,
        board: Identity,
        *,
        gone: tuple[str, ...] = (),
        lessons: Mapping[str, tuple[str, ...]] = {},
    ) -> Self:
        return cls(
            config.homeassistant,
            topics,
            control=config.control.enabled,
            image=config.publish.image,
            event_image=config.publish.event_image,
            allow=config.labels.allow,
            board=board,
            watched=config.watched,
            gone=gone,
            lessons=lessons,
        )

    @property
    def topic(self) -> str:
        return f"{self._config.discovery_prefix}/device/{self._topics.device_id}/config"

    @property
    def birth_topic(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self._config.discovery_prefix}/status"

    def message(self) -> Message:
        """The retained message that makes the device appear."""
        return Message(self.topic, dump(self._payload()), retain=True)

    def removal(self) -> Message:
        """The retained message that makes it disappear."""
        return Message(self.topic, b"", retain=True)

    def on_birth(self, publish: Callable[[Message], None]) -> Callable[[Incoming], None]:
        """A handler for `birth_topic` that publishes the message again."""

        def handle(message: Incoming) -> None:
            if message.payload == _BIRTH and not message.retained:
                publish(self.message())

        return handle

    def _payload(self) -> dict[str, Any]:
        device = f"edge_agent_{self._topics.device_id}"
        connections = {"connections": [["mac", self._board.mac]]} if self._board.mac else {}
        return {
            "device": {
                "identifiers": [device],
                "name": self._config.name or self._topics.device_id,
                "manufacturer": _ORIGIN,
                "model": self._board.model or "Camera classification agent",
                "sw_version": __version__,
            }
            | connections,
            "origin": {"name": _ORIGIN, "sw_version": __version__},
            "availability": [self._agent_is_there],
            "components": {
                component.key: component.payload(device) if enabled else component.removal()
                for component, enabled in self._components()
            },
        }

    @property
    def _agent_is_there(self) -> Mapping[str, str]:
        return {"topic": self._topics.availability}

    @property
    def _camera_runs(self) -> _Availability:
        """An answer stands for what the camera sees now: without one there is none."""
        running = "{{ 'online' if value_json.camera.state == 'running' else 'offline' }}"
        return self._agent_is_there, {"topic": self._topics.health, "value_template": running}

    def _components(self) -> Iterator[tuple[Component, bool]]:
        for region in self._watched:
            for component in self._results(region):
                yield component, True
            yield self._pictured(region), self._event_image
            yield from self._teaching(region)
        for region in self._gone:
            lessons = (component for component, _ in self._teaching(region))
            for component in (*self._results(region), self._pictured(region), *lessons):
                yield component, False
        for component in self._diagnostics():
            yield component, True
        for component in (self._pause(), *self._numbers(), *self._buttons()):
            yield component, self._control
        # A snapshot comes on the same topic.
        yield self._picture("image", "Picture", self._topics.image), self._image or self._control

    def _pictured(self, region: str) -> Component:
        topics = self._topics.of(region)
        attributes = topics.event_image_info
        name = _named("Picture of the change", region)
        return self._picture(_key("event_image", region), name, topics.event_image, attributes)

    def _results(self, region: str) -> Iterator[Component]:
        topics = self._topics.of(region)
        labels = (*self._allow, *self._lessons.get(region, ()), UNKNOWN)  # others would be refused
        options = tuple(dict.fromkeys(label[:_LONGEST_STATE] for label in labels))
        yield Component(
            key=_key("label", region),
            platform="sensor",
            name=_named("Label", region),
            icon="mdi:tag",
            state_topic=topics.state,
            value_template=_LABEL,
            device_class="enum" if self._allow else None,
            options=options if self._allow else None,
            json_attributes_topic=topics.state,
            json_attributes_template=_TOP_LABELS,
            availability=self._camera_runs,
            availability_mode="all",
        )
        yield Component(
            key=_key("score", region),
            platform="sensor",
            name=_named("Score", region),
            icon="mdi:percent",
            state_topic=topics.state,
            value_template="{{ (value_json.score * 100) | round | int if value_json is defined else none }}",
            unit_of_measurement="%",
            state_class="measurement",
            availability=self._camera_runs,
            availability_mode="all",
        )
        yield Component(
            key=_key("label_changed", region),
            platform="event",
            name=_named("Label changed", region),
            icon="mdi:tag-arrow-right",
            state_topic=topics.event,
            event_types=("label_changed",),
        )

    def _teaching(self, region: str) -> Iterator[tuple[Component, bool]]:
        """What tells the agent the name of the present frame."""
        labels = self._lessons.get(region, ())
        of_region = f',"region":"{region}"' if region else ""
        this_is: dict[str, Any] = {
            "command_topic": self._topics.request("teach/add"),
            "command_template": f'{{"label":{{{{ value | tojson }}}}{of_region}}}',
        }
        known = Component(
            key=_key("teach", region),
            platform="select",
            name=_named("This is", region),
            icon="mdi:school",
            options=labels,
            **this_is,
        )
        new = Component(
            key=_key("teach_new", region),
            platform="text",
            name=_named("This is something new", region),
            icon="mdi:tag-plus",
            min=1,
            max=_LONGEST_LABEL,
            mode="text",
            **this_is,
        )
        undo = Component(
            key=_key("teach_undo", region),
            platform="button",
            name=_named("Undo the last lesson", region),
            icon="mdi:undo",
            command_topic=self._topics.request("teach/undo"),
            payload_press=dump({"region": region} if region else {}).decode(),
        )
        yield known, self._control and bool(labels)
        yield new, self._control and region in self._lessons
        yield undo, self._control and bool(labels)

    def _diagnostics(self) -> Iterator[Component]:
        health = self._topics.health
        yield _measurement(health, "memory", "Memory", "memory.rss_mb", "MB", "data_size")
        yield _measurement(health, "latency", "Latency", "latency_ms.p50", "ms", "duration")
        yield _measurement(health, "fps", "Frame rate", "fps", "fps", None)
        yield _measurement(health, "temperature", "Temperature", "board.temperature_c", "°C", "temperature")
        yield Component(
            key="camera",
            platform="binary_sensor",
            name="Camera",
            device_class="problem",
            entity_category="diagnostic",
            state_topic=health,
            value_template="{{ 'ON' if value_json.camera.state == 'reopening' else 'OFF' }}",
            json_attributes_topic=health,
            json_attributes_template="{{ value_json.camera | tojson }}",
        )
        yield _problem(health, "under_voltage", "Under-voltage", "board.under_voltage")
        yield _problem(health, "throttled", "Throttled", "board.throttled")
        # The rest is there for whoever looks for it, and costs nothing in the recorder until then.
        yield _measurement(health, "uptime", "Uptime", "uptime_s", "s", "duration", hidden=True)
        yield _measurement(health, "memory_peak", "Memory peak", "memory.peak_mb", "MB", "data_size", True)
        yield _measurement(health, "latency_p95", "Latency p95", "latency_ms.p95", "ms", "duration", True)
        yield _measurement(health, "pace", "Pace", "board.pace_percent", "%", None, True)
        yield _measurement(health, "saved", "Inference saved", "skipped_percent", "%", None, True)
        yield _count(health, "frames_dropped", "Frames dropped", "camera.dropped")
        yield _count(health, "pictures_unusable", "Pictures unusable", "camera.unusable")
        yield _count(health, "flaps", "Flaps", "flaps")
        yield _count(health, "events_lost", "Events lost", "mqtt.dropped_events")
        yield _count(health, "reconnects", "Reconnects", "mqtt.reconnects")

    def _pause(self) -> Component:
        return Component(
            key="pause",
            platform="switch",
            name="Pause",
            icon="mdi:pause",
            command_topic=self._topics.request("pause"),
            payload_on='{"paused":true}',
            payload_off='{"paused":false}',
            state_topic=self._topics.health,
            value_template="{{ 'ON' if value_json.camera.state == 'paused' else 'OFF' }}",
            state_on="ON",
            state_off="OFF",
        )

    def _numbers(self) -> Iterator[Component]:
        yield self._number("threshold", "Threshold", "stabilizer.threshold", 0.01, icon="mdi:gauge")
        yield self._number("rate", "Rate", "source.fps", 0.1, icon="mdi:speedometer", unit="fps")

    def _number(
        self, key: str, name: str, setting: str, step: float, *, icon: str, unit: str | None = None
    ) -> Component:
        limits = declared(Config(), setting)
        return Component(
            key=key,
            platform="number",
            name=name,
            icon=icon,
            entity_category="config",
            command_topic=self._topics.request("config/set"),
            command_template=f'{{"settings":{{"{setting}":{{{{ value }}}}}}}}',
            state_topic=self._topics.info,
            value_template=f"{{{{ value_json.config.{setting} }}}}",
            unit_of_measurement=unit,
            min=limits.at_least,
            max=limits.at_most,
            step=step,
            mode="box",
        )

    def _buttons(self) -> Iterator[Component]:
        yield self._button("snapshot", "Snapshot", icon="mdi:camera")
        yield self._button("reload", "Reload", icon="mdi:file-refresh", entity_category="config")
        yield self._button("restart", "Restart", device_class="restart", entity_category="config")

    def _button(self, verb: str, name: str, **options: str) -> Component:
        topic = self._topics.request(verb)
        return Component(verb, "button", name, command_topic=topic, payload_press="{}", **options)  # type: ignore[arg-type]

    @staticmethod
    def _picture(key: str, name: str, topic: str, attributes: str | None = None) -> Component:
        return Component(
            key=key,
            platform="image",
            name=name,
            image_topic=topic,
            content_type="image/jpeg",
            json_attributes_topic=attributes,
            json_attributes_template=_AS_IT_IS if attributes else None,
        )


def _key(key: str, region: str) -> str:
    return f"{key}_{region}" if region else key


def _named(name: str, region: str) -> str:
    return f"{name} ({region})" if region else name


def _measurement(
    topic: str, key: str, name: str, path: str, unit: str, device_class: str | None, hidden: bool = False
) -> Component:
    """A diagnostic number of `health`; null there makes it unknown in Home Assistant."""
    return Component(
        key=key,
        platform="sensor",
        name=name,
        icon=None if device_class else "mdi:speedometer",
        state_topic=topic,
        value_template=f"{{{{ value_json.{path} }}}}",
        device_class=device_class,
        unit_of_measurement=unit,
        state_class="measurement",
        suggested_display_precision=1,
        entity_category="diagnostic",
        enabled_by_default=False if hidden else None,
    )


def _count(topic: str, key: str, name: str, path: str) -> Component:
    """A count of `health` since the agent's start, disabled until somebody enables it."""
    return Component(
        key=key,
        platform="sensor",
        name=name,
        icon="mdi:counter",
        state_topic=topic,
        value_template=f"{{{{ value_json.{path} }}}}",
        state_class="total_increasing",
        entity_category="diagnostic",
        enabled_by_default=False,
    )


def _problem(topic: str, key: str, name: str, path: str) -> Component:
    """A warning of `health`; null there makes it unknown in Home Assistant."""
    return Component(
        key=key,
        platform="binary_sensor",
        name=name,
        device_class="problem",
        entity_category="diagnostic",
        state_topic=topic,
        value_template=f"{{{{ {{true: 'ON', false: 'OFF'}}.get(value_json.{path}) }}}}",
    )

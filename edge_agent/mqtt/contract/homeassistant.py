"""Home Assistant's device-based discovery: one retained message makes the device appear with all entities.

The format: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from edge_agent import __version__
from edge_agent.config.schema import HomeAssistantConfig
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import dump
from edge_agent.mqtt.contract.topics import Topics

_BIRTH = b"online"
_ORIGIN = "edge-agent"
_LONGEST_STATE = 255  # characters that Home Assistant takes as an entity's state

_TOP_LABELS = (
    "{% set ns = namespace(top={}) %}{% for entry in value_json.top %}"
    "{% set ns.top = dict(ns.top, **{'top_' ~ loop.index: entry.label,"
    " 'top_' ~ loop.index ~ '_score': entry.score}) %}"
    "{% endfor %}{{ ns.top | tojson }}"
)


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

    def __init__(self, config: HomeAssistantConfig, topics: Topics, *, control: bool, image: bool) -> None:
        """`control`: requests are answered, so a switch can pause; `image`: pictures are published."""
        self._config = config
        self._topics = topics
        self._control = control
        self._image = image

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
        return {
            "device": {
                "identifiers": [device],
                "name": self._config.name or self._topics.device_id,
                "manufacturer": _ORIGIN,
                "model": "Camera classification agent",
                "sw_version": __version__,
            },
            "origin": {"name": _ORIGIN, "sw_version": __version__},
            "availability_topic": self._topics.availability,
            "components": {
                component.key: component.payload(device) if enabled else component.removal()
                for component, enabled in self._components()
            },
        }

    def _components(self) -> Iterator[tuple[Component, bool]]:
        for component in (*self._results(), *self._diagnostics()):
            yield component, True
        yield self._pause(), self._control
        yield self._picture(), self._image

    def _results(self) -> Iterator[Component]:
        topics = self._topics
        yield Component(
            key="label",
            platform="sensor",
            name="Label",
            icon="mdi:tag",
            state_topic=topics.state,
            value_template=f"{{{{ value_json.label[:{_LONGEST_STATE}] }}}}",
            json_attributes_topic=topics.state,
            json_attributes_template=_TOP_LABELS,
        )
        yield Component(
            key="score",
            platform="sensor",
            name="Score",
            icon="mdi:percent",
            state_topic=topics.state,
            value_template="{{ (value_json.score * 100) | round(1) }}",
            unit_of_measurement="%",
            state_class="measurement",
        )
        yield Component(
            key="label_changed",
            platform="event",
            name="Label changed",
            icon="mdi:tag-arrow-right",
            state_topic=topics.event,
            event_types=("label_changed",),
        )

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

    def _picture(self) -> Component:
        return Component(
            key="image",
            platform="image",
            name="Picture",
            image_topic=self._topics.image,
            content_type="image/jpeg",
        )


def _measurement(
    topic: str, key: str, name: str, path: str, unit: str, device_class: str | None
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
    )

"""The device discovery messages that Home Assistant accepts, by its documentation and published schemas.

Sources: https://www.home-assistant.io/integrations/mqtt/ (device discovery, availability, origin), the pages
of the platforms there (sensor.mqtt, binary_sensor.mqtt, switch.mqtt, event.mqtt, image.mqtt), and for device
classes and their units https://developers.home-assistant.io/docs/core/entity/sensor/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

TOPIC = re.compile(
    r"(?P<component>\w+)/(?:(?P<node_id>[a-zA-Z0-9_-]+)/)?(?P<object_id>[a-zA-Z0-9_-]+)/config"
)

_AVAILABILITY = {
    "availability",
    "availability_mode",
    "availability_template",
    "availability_topic",
    "payload_available",
    "payload_not_available",
}
_AVAILABILITY_SOURCE = {"topic", "value_template", "payload_available", "payload_not_available"}
_ROOT = _AVAILABILITY | {
    "device",
    "origin",
    "components",
    "state_topic",
    "command_topic",
    "qos",
    "encoding",
}
_DEVICE = {
    "identifiers",
    "connections",
    "manufacturer",
    "model",
    "model_id",
    "name",
    "hw_version",
    "serial_number",
    "sw_version",
    "via_device",
    "suggested_area",
    "configuration_url",
}
_COMMON = _AVAILABILITY | {
    "platform",
    "unique_id",
    "name",
    "icon",
    "entity_category",
    "entity_picture",
    "enabled_by_default",
    "default_entity_id",
    "json_attributes_topic",
    "json_attributes_template",
    "qos",
    "encoding",
}
_OWN = {
    "sensor": {
        "state_topic",
        "value_template",
        "device_class",
        "unit_of_measurement",
        "state_class",
        "suggested_display_precision",
        "expire_after",
        "force_update",
        "last_reset_value_template",
        "options",
    },
    "binary_sensor": {
        "state_topic",
        "value_template",
        "device_class",
        "expire_after",
        "force_update",
        "off_delay",
        "payload_on",
        "payload_off",
    },
    "switch": {
        "command_topic",
        "command_template",
        "state_topic",
        "value_template",
        "device_class",
        "optimistic",
        "payload_on",
        "payload_off",
        "state_on",
        "state_off",
        "retain",
    },
    "event": {"state_topic", "value_template", "device_class", "event_types"},
    "number": {
        "command_topic",
        "command_template",
        "state_topic",
        "value_template",
        "device_class",
        "unit_of_measurement",
        "min",
        "max",
        "step",
        "mode",
        "optimistic",
        "payload_reset",
        "retain",
    },
    "button": {"command_topic", "command_template", "payload_press", "device_class", "retain"},
    "select": {
        "command_topic",
        "command_template",
        "state_topic",
        "value_template",
        "options",
        "optimistic",
        "retain",
    },
    "text": {
        "command_topic",
        "command_template",
        "state_topic",
        "value_template",
        "min",
        "max",
        "mode",
        "pattern",
        "retain",
    },
    "image": {"image_topic", "url_topic", "url_template", "content_type", "image_encoding"},
}
_REQUIRED = {
    "sensor": {"state_topic"},
    "binary_sensor": {"state_topic"},
    "switch": {"command_topic"},
    "event": {"state_topic", "event_types"},
    "number": {"command_topic"},
    "button": {"command_topic"},
    "select": {"command_topic", "options"},
    "text": {"command_topic"},
    "image": set[str](),
}
_UNITS = {
    "data_size": {"B", "kB", "MB", "GB", "KiB", "MiB", "GiB"},
    "duration": {"d", "h", "min", "s", "ms", "µs"},
    "temperature": {"°C", "°F", "K"},
}
_BINARY_CLASSES = {"problem", "connectivity", "running", "power"}
_STATE_CLASSES = {"measurement", "total", "total_increasing"}
_LONGEST_STATE = 255


def check_message(prefix: str, topic: str, payload: bytes) -> dict[str, Any]:
    """Return the decoded message; raises AssertionError with the rule that is broken."""
    match = TOPIC.fullmatch(topic.removeprefix(f"{prefix}/"))
    assert match, f"{topic} is no discovery topic"
    assert match["component"] == "device"
    message: dict[str, Any] = json.loads(payload)
    assert {"device", "origin", "components"} <= set(message)
    assert set(message) <= _ROOT, f"unknown at the root: {set(message) - _ROOT}"
    assert set(message["device"]) <= _DEVICE
    for kind, value in message["device"].get("connections", []):
        assert (kind, value == value.lower(), len(value)) == ("mac", True, 17)
    assert message["device"].get("identifiers") or message["device"].get("connections")
    assert "name" in message["origin"]
    assert set(message["origin"]) <= {"name", "sw_version", "support_url"}
    _check_availability(message)
    ids = [_check_component(component) for component in message["components"].values()]
    given = [unique_id for unique_id in ids if unique_id is not None]
    assert len(given) == len(set(given)), "a unique_id is used twice"
    return message


def _check_availability(options: dict[str, Any]) -> None:
    assert not {"availability", "availability_topic"} <= set(options), "these two exclude each other"
    if "availability_topic" in options:
        _check_topic(options["availability_topic"])
    for source in options.get("availability", []):
        assert {"topic"} <= set(source) <= _AVAILABILITY_SOURCE
        _check_topic(source["topic"])
    assert options.get("availability_mode", "latest") in ("all", "any", "latest")


def _check_component(component: dict[str, Any]) -> str | None:
    """Check one component; returns its unique_id, or None for one that is being removed."""
    platform = component["platform"]
    assert platform in _OWN, f"{platform} is not known here"
    if set(component) == {"platform"}:
        return None
    unique_id = component["unique_id"]
    assert isinstance(unique_id, str)
    allowed = _COMMON | _OWN[platform]
    assert set(component) <= allowed, f"{platform} does not know {set(component) - allowed}"
    missing = _REQUIRED[platform] - set(component)
    assert not missing, f"{platform} needs {missing}"
    assert component["qos"] in (0, 1, 2)
    _check_availability(component)
    for option, value in component.items():
        if option.endswith("_topic"):
            _check_topic(value)
    if "json_attributes_template" in component:
        assert "json_attributes_topic" in component
    if "entity_category" in component:
        # `config` is for what can be set; a sensor with it is refused.
        assert component["entity_category"] in (
            {"diagnostic", "config"} if platform in ("switch", "number", "button") else {"diagnostic"}
        )
    if platform == "sensor":
        _check_sensor(component)
    if platform == "binary_sensor":
        assert component["device_class"] in _BINARY_CLASSES
    if platform == "image":
        assert ("image_topic" in component) != ("url_topic" in component)
    if platform == "number":
        assert component["min"] < component["max"]
        assert component["step"] >= 0.001
        assert component["mode"] in ("auto", "box", "slider")
    if platform == "select":
        assert len(component["options"]) == len(set(component["options"])) > 0
    if platform == "text":
        assert 0 <= component["min"] <= component["max"] <= _LONGEST_STATE
        assert component["mode"] in ("text", "password")
    if platform == "event":
        assert component["event_types"]
    return unique_id


def _check_sensor(component: dict[str, Any]) -> None:
    if component.get("device_class") == "enum":
        options = component["options"]
        assert options
        assert len(options) == len(set(options))
        assert not {"state_class", "unit_of_measurement"} & set(component)
    elif device_class := component.get("device_class"):
        assert component["unit_of_measurement"] in _UNITS[device_class]
    if state_class := component.get("state_class"):
        assert state_class in _STATE_CLASSES
        assert "options" not in component
    if "icon" in component:
        assert component["icon"].startswith("mdi:")


def _check_topic(topic: str) -> None:
    assert topic
    assert not set(topic) & set("+#\0")
    assert len(topic.encode()) < 65536


def environment() -> ImmutableSandboxedEnvironment:
    """A template environment as strict as Home Assistant's: sandboxed, and nothing undefined is let pass."""
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined)


def render(component: dict[str, Any], payload: bytes, template: str = "value_template") -> str:
    """Render a template as Home Assistant does: `value` is the payload's text, `value_json` its object.

    Without JSON in the payload there is no `value_json`.
    """
    if template not in component:
        return payload.decode()
    text = payload.decode()
    parsed = {"value_json": json.loads(text)} if text else {}
    return environment().from_string(component[template]).render(value=text, **parsed)


def command_of(component: dict[str, Any], value: float | str) -> bytes:
    """What a number, a select or a text sends for a value."""
    return environment().from_string(component["command_template"]).render(value=value).encode()


def state_of(component: dict[str, Any], payload: bytes) -> str | float | bool | None:
    """The state that an entity takes from a payload; None for unknown, AssertionError for an invalid one."""
    rendered = render(component, payload)
    if rendered == "None":
        return None
    if component["platform"] == "number":
        return float(rendered)
    if component["platform"] == "sensor":
        if "state_class" in component or "unit_of_measurement" in component:
            return float(rendered)
        assert len(rendered) <= _LONGEST_STATE
        assert rendered in component.get("options", [rendered])
        return rendered
    on, off = (component.get(f"state_{word}", component.get(f"payload_{word}")) for word in ("on", "off"))
    assert rendered in (on or "ON", off or "OFF")
    return rendered == (on or "ON")


def is_available(component: dict[str, Any], payloads: dict[str, bytes]) -> bool:
    """Whether an entity with a list of availability topics, all of them needed, is available."""
    assert component["availability_mode"] == "all"
    return all(render(source, payloads[source["topic"]]) == "online" for source in component["availability"])


def attributes_of(component: dict[str, Any], payload: bytes) -> dict[str, Any]:
    """The attributes that an entity takes from a payload: its template must give a JSON object."""
    attributes: dict[str, Any] = json.loads(render(component, payload, "json_attributes_template"))
    assert isinstance(attributes, dict)
    return attributes


def templates(message: dict[str, Any]) -> Iterator[str]:
    """Every template of the message."""
    for component in message["components"].values():
        yield from (value for option, value in component.items() if option.endswith("_template"))

"""The discovery message: by Home Assistant's rules, and right on real payloads."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from edge_agent.config.schema import HomeAssistantConfig
from edge_agent.inference import Score
from edge_agent.mqtt.contract.homeassistant import Discovery, Identity
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import encode
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.publisher import Subscription
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto, collect, wait_until
from tests.mqtt.contract import home_assistant_rules as ha
from tests.mqtt.helpers import Bench, connected, is_, publishing
from tests.mqtt.samples import TOPICS, broker_config


def discovery(
    config: HomeAssistantConfig | None = None, *, control: bool = True, image: bool = True, **more: Any
) -> Discovery:
    return Discovery(
        config or HomeAssistantConfig(enabled=True), TOPICS, control=control, image=image, **more
    )


def checked(of: Discovery, prefix: str = "homeassistant") -> dict[str, Any]:
    message = of.message()
    assert message.retain
    return ha.check_message(prefix, message.topic, message.payload)


@pytest.fixture
def components() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = checked(discovery(event_image=True))["components"]
    return found


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize(
    "config", [HomeAssistantConfig(), HomeAssistantConfig(discovery_prefix="ha/x", name="Pörch")]
)
def test_the_message_is_what_home_assistant_accepts(
    config: HomeAssistantConfig, control: bool, image: bool
) -> None:
    message = checked(discovery(config, control=control, image=image), config.discovery_prefix)
    assert message["device"]["name"] == (config.name or "porch")
    assert message["availability"] == [{"topic": TOPICS.availability}]
    for key in ("pause", "threshold", "rate", "snapshot", "reload", "restart"):
        assert (set(message["components"][key]) == {"platform"}) is not control
    # A snapshot, which is a request, comes as an image too.
    assert (message["components"]["image"] == {"platform": "image"}) is not (image or control)


def test_the_topic_bears_the_device() -> None:
    assert discovery().topic == "homeassistant/device/porch/config"


def test_two_devices_share_no_id() -> None:
    def ids(device_id: str) -> set[str]:
        of = Discovery(HomeAssistantConfig(), Topics("edge_agent", device_id), control=True, image=True)
        message = checked(of)
        return {part["unique_id"] for part in message["components"].values() if "name" in part} | {
            *message["device"]["identifiers"]
        }

    assert not ids("porch") & ids("porch-2")


def test_every_topic_is_one_that_the_agent_uses(components: dict[str, dict[str, Any]]) -> None:
    used = {
        value for part in components.values() for option, value in part.items() if option.endswith("topic")
    }
    topics = {TOPICS.state, TOPICS.event, TOPICS.health, TOPICS.info, TOPICS.image}
    topics |= {TOPICS.event_image, TOPICS.event_image_info}
    assert used == topics | {
        TOPICS.request(verb) for verb in ("pause", "config/set", "snapshot", "reload", "restart")
    }


def test_the_labels_are_its_options_where_they_are_known() -> None:
    label = checked(discovery(allow=("cat", "dog", "unknown")))["components"]["label"]
    assert (label["device_class"], label["options"]) == ("enum", ["cat", "dog", "unknown"])
    assert ha.state_of(label, encode(samples.state(label="dog"))) == "dog"
    assert "options" not in checked(discovery())["components"]["label"]


@pytest.mark.parametrize("control", [True, False])
def test_a_label_that_was_taught_is_an_option_too_since_others_would_be_refused(control: bool) -> None:
    parts = checked(
        discovery(allow=("cat",), control=control, watched=("gate", "bin"), lessons={"gate": ("open", "cat")})
    )["components"]
    assert parts["label_gate"]["options"] == ["cat", "open", "unknown"]
    assert parts["label_bin"]["options"] == ["cat", "unknown"]
    assert is_removal(parts["teach_gate"]) != control


def test_the_board_is_shown_and_known_by_its_hardware_address() -> None:
    board = Identity("Raspberry Pi 5 Model B Rev 1.0", "d8:3a:dd:01:02:03")
    device = checked(discovery(board=board))["device"]
    assert device["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert device["connections"] == [["mac", "d8:3a:dd:01:02:03"]]
    unknown = checked(discovery())["device"]
    assert unknown["model"]
    assert "connections" not in unknown


def is_removal(component: dict[str, Any]) -> bool:
    return set(component) == {"platform"}


def test_each_region_has_entities_of_its_own_on_its_own_topics() -> None:
    parts = checked(discovery(watched=("gate", "door"), event_image=True))["components"]
    for region in ("gate", "door"):
        topics = TOPICS.of(region)
        assert parts[f"label_{region}"]["state_topic"] == topics.state
        assert parts[f"score_{region}"]["state_topic"] == topics.state
        assert parts[f"label_changed_{region}"]["state_topic"] == topics.event
        assert parts[f"event_image_{region}"]["image_topic"] == topics.event_image
        assert parts[f"label_{region}"]["name"] == f"Label ({region})"
    assert "label" not in parts


def test_what_is_watched_no_more_is_removed() -> None:
    parts = checked(discovery(watched=("gate",), gone=("", "door"), lessons={"gate": ("open",)}))[
        "components"
    ]
    gone = [key for key in parts if key.endswith("_door") or key in ("label", "score", "teach", "teach_new")]
    assert len(gone) == 11
    assert all(is_removal(parts[key]) for key in gone)


def test_a_frame_is_named_by_choosing_a_label_or_typing_a_new_one() -> None:
    labels = ("open", 'half "open"', "närmare \\ {{ x }}")
    parts = checked(discovery(lessons={"": labels}))["components"]
    assert parts["teach"]["options"] == list(labels)
    for key in ("teach", "teach_new"):
        assert parts[key]["command_topic"] == TOPICS.request("teach/add")
        for label in labels:
            assert json.loads(ha.command_of(parts[key], label)) == {"label": label}
    assert (parts["teach_undo"]["command_topic"], parts["teach_undo"]["payload_press"]) == (
        TOPICS.request("teach/undo"),
        "{}",
    )


def test_a_lesson_in_home_assistant_names_its_region() -> None:
    parts = checked(discovery(watched=("gate",), lessons={"gate": ("open",)}))["components"]
    assert json.loads(ha.command_of(parts["teach_gate"], "open")) == {"label": "open", "region": "gate"}
    assert json.loads(parts["teach_undo_gate"]["payload_press"]) == {"region": "gate"}


def test_nothing_can_be_chosen_before_the_first_lesson_nor_taught_where_no_lesson_is_taken() -> None:
    first = checked(discovery(lessons={"": ()}))["components"]
    assert (is_removal(first["teach"]), is_removal(first["teach_new"])) == (True, False)
    never = checked(discovery())["components"]
    assert all(is_removal(never[key]) for key in ("teach", "teach_new", "teach_undo"))


class TestOnRealPayloads:
    """The value that each entity takes from the agent's payloads."""

    def test_label_and_score(self, components: dict[str, dict[str, Any]]) -> None:
        payload = encode(samples.state())
        assert ha.state_of(components["label"], payload) == "tabby"
        assert ha.state_of(components["score"], payload) == 61  # whole, so that the recorder keeps less

    def test_the_top_labels_are_attributes(self, components: dict[str, dict[str, Any]]) -> None:
        assert ha.attributes_of(components["label"], encode(samples.state())) == {
            "top_1": "tabby",
            "top_1_score": 0.61,
            "top_2": "tiger cat",
            "top_2_score": 0.2,
            "top_3": "Egyptian cat",
            "top_3_score": 0.1,
        }

    @pytest.mark.parametrize(
        "label", ['he said "cat" & <dog>', "{{ value }}", "ünï\n", "x" * 1000, "{% raw %}"]
    )
    def test_no_label_can_break_a_template(self, components: dict[str, dict[str, Any]], label: str) -> None:
        odd = dataclasses.replace(samples.state(label=label), top=(Score(label, 1, 0.5),))
        assert ha.state_of(components["label"], encode(odd)) == label[:255]
        assert ha.attributes_of(components["label"], encode(odd))["top_1"] == label

    def test_a_state_without_a_top_list_has_no_attributes(
        self, components: dict[str, dict[str, Any]]
    ) -> None:
        bare = dataclasses.replace(samples.state(), top=())
        assert ha.attributes_of(components["label"], encode(bare)) == {}

    def test_diagnostics(self, components: dict[str, dict[str, Any]]) -> None:
        payload = encode(samples.health())
        found = {
            key: ha.state_of(components[key], payload) for key in ("memory", "latency", "fps", "temperature")
        }
        assert found == {"memory": 88.0, "latency": 92.0, "fps": 1.99, "temperature": 51.1}

    def test_what_the_board_does_not_report_is_unknown(self, components: dict[str, dict[str, Any]]) -> None:
        health = samples.health()
        board = dataclasses.replace(health.board, temperature_c=None)
        latency = dataclasses.replace(health.latency_ms, p50=None)
        payload = encode(dataclasses.replace(health, board=board, latency_ms=latency))
        assert ha.state_of(components["temperature"], payload) is None
        assert ha.state_of(components["latency"], payload) is None

    @pytest.mark.parametrize(
        ("camera_state", "problem", "paused"),
        [
            ("starting", False, False),
            ("running", False, False),
            ("reopening", True, False),
            ("paused", False, True),
            ("ended", False, False),
        ],
    )
    def test_the_camera_and_the_pause_switch(
        self, components: dict[str, dict[str, Any]], camera_state: Any, problem: bool, paused: bool
    ) -> None:
        health = samples.health()
        camera = dataclasses.replace(health.camera, state=camera_state, last_error="no frame")
        payload = encode(dataclasses.replace(health, camera=camera))
        assert ha.state_of(components["camera"], payload) is problem
        assert ha.state_of(components["pause"], payload) is paused
        assert ha.attributes_of(components["camera"], payload)["last_error"] == "no frame"

    @pytest.mark.parametrize("camera_state", ["starting", "running", "reopening", "paused", "ended"])
    @pytest.mark.parametrize("agent", ["online", "offline"])
    def test_an_answer_is_available_while_the_camera_runs(
        self, components: dict[str, dict[str, Any]], camera_state: Any, agent: str
    ) -> None:
        health = samples.health()
        camera = dataclasses.replace(health.camera, state=camera_state)
        # The availability topic's payload is a bare word: as JSON it would be quoted.
        payloads = {TOPICS.health: encode(dataclasses.replace(health, camera=camera))}
        for key in ("label", "score"):
            of_agent, of_camera = components[key]["availability"]
            assert of_agent == {"topic": TOPICS.availability}
            part = components[key] | {"availability": [of_camera]}
            available = ha.is_available(part, payloads) and agent == "online"
            assert available is (camera_state == "running" and agent == "online")
        assert "availability" not in components["label_changed"]
        assert "availability" not in components["pause"]

    @pytest.mark.parametrize(("value", "problem"), [(True, True), (False, False), (None, None)])
    def test_the_boards_warnings(
        self, components: dict[str, dict[str, Any]], value: bool | None, problem: bool | None
    ) -> None:
        health = samples.health()
        board = dataclasses.replace(health.board, under_voltage=value, throttled=value)
        payload = encode(dataclasses.replace(health, board=board))
        for key in ("under_voltage", "throttled"):
            assert ha.state_of(components[key], payload) is problem

    def test_every_diagnostic_is_in_health(self, components: dict[str, dict[str, Any]]) -> None:
        for part in components.values():
            if part.get("entity_category") == "diagnostic" and part["state_topic"] == TOPICS.health:
                assert ha.state_of(part, encode(samples.health())) is not None

    @pytest.mark.parametrize(
        ("key", "setting", "value"),
        [("threshold", "stabilizer.threshold", 0.45), ("rate", "source.fps", 2.5)],
    )
    def test_the_numbers_show_and_send_settings(
        self, components: dict[str, dict[str, Any]], key: str, setting: str, value: float
    ) -> None:
        shown = ha.state_of(components[key], encode(samples.info()))
        assert shown == {"threshold": 0.3, "rate": 2.0}[key]
        bench = Bench()
        verb = components[key]["command_topic"].removeprefix(TOPICS.request(""))
        assert bench.answer(verb, ha.command_of(components[key], value))["data"] == {"changed": [setting]}
        assert bench.agent.settings == {setting: value}

    def test_the_buttons_send_what_the_agent_understands(self, components: dict[str, dict[str, Any]]) -> None:
        bench = Bench()
        for key in ("snapshot", "reload", "restart"):
            verb = components[key]["command_topic"].removeprefix(TOPICS.request(""))
            assert bench.answer(verb, components[key]["payload_press"].encode())["status"] == "ok"
        assert bench.agent.restarted

    def test_the_event_entity_knows_the_events_type(self, components: dict[str, dict[str, Any]]) -> None:
        event = json.loads(ha.render(components["label_changed"], encode(samples.changed(1))))
        assert event.pop("event_type") in components["label_changed"]["event_types"]
        assert (event["from"], event["to"]) == ("tabby", "tiger cat")

    def test_the_switch_sends_what_the_agent_understands(self, components: dict[str, dict[str, Any]]) -> None:
        bench = Bench()
        verb = components["pause"]["command_topic"].removeprefix(TOPICS.request(""))
        assert bench.answer(verb, components["pause"]["payload_on"].encode())["data"] == {"paused": True}
        assert bench.answer(verb, components["pause"]["payload_off"].encode())["data"] == {"paused": False}


def test_it_is_published_again_when_home_assistant_starts(broker: Mosquitto) -> None:
    of = discovery()
    handlers: list[Subscription] = []
    sent: list[Message] = []
    handlers.append(Subscription(of.birth_topic, of.on_birth(sent.append)))
    with (
        connected(broker_config(broker.port)) as other,
        Subscriber(HOST, broker.port, of.topic) as subscriber,
        publishing(
            broker_config(broker.port), announcements=[of.message()], subscriptions=handlers
        ) as publisher,
    ):
        collect(subscriber, is_(of.topic, of.message().payload))
        other.send(Message(of.birth_topic, b"offline"))
        other.send(Message(of.birth_topic, b"online"))
        wait_until(lambda: bool(sent))
        publisher.publish(sent[0])
        collect(subscriber, is_(of.topic, of.message().payload))
    assert sent == [of.message()]


def test_a_retained_birth_message_is_an_old_one() -> None:
    sent: list[Message] = []
    discovery().on_birth(sent.append)(Incoming("homeassistant/status", b"online", retained=True))
    assert sent == []


@pytest.mark.parametrize("region", ["", "gate"])
def test_an_empty_message_that_removes_a_kept_one_is_understood(region: str) -> None:
    """Home Assistant may be told of it before it has removed the entity."""
    parts = checked(discovery(watched=(region,), event_image=True))["components"]
    end = f"_{region}" if region else ""
    assert ha.state_of(parts[f"label{end}"], b"") is None
    assert ha.state_of(parts[f"score{end}"], b"") is None
    assert ha.attributes_of(parts[f"label{end}"], b"") == {}
    assert ha.attributes_of(parts[f"event_image{end}"], b"") == {}
    assert ha.attributes_of(parts[f"event_image{end}"], b'{"seq": 3}') == {"seq": 3}

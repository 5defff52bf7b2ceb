"""docs/mqtt.md and its examples: they work as written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml

from edge_agent.config.schema import HomeAssistantConfig
from edge_agent.mqtt.contract.homeassistant import Discovery
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from edge_agent.mqtt.wire.connection import Connection
from edge_agent.mqtt.wire.status import Trouble
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto, wait_until
from tests.mqtt.contract.home_assistant_rules import environment
from tests.mqtt.helpers import connected
from tests.mqtt.samples import TOPICS, broker_config, changed

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "mqtt.md").read_text(encoding="utf-8")
EXAMPLES = DOCS / "examples"
JSON_BLOCKS = re.findall(r"^```json (\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "block"), JSON_BLOCKS)
def test_every_payload_shown_is_one_of_its_schema(name: str, block: str) -> None:
    schema = json.loads((DOCS / "schema" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(block))


def test_state_event_health_and_response_are_shown() -> None:
    assert {name for name, _ in JSON_BLOCKS} == {"state", "event", "event_image_info", "health", "response"}


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("https://"):
            assert (DOCS / target).exists(), target


def test_every_trouble_is_explained() -> None:
    for trouble in Trouble:
        assert f"| {trouble} |" in TEXT


def test_the_automation_in_the_text_is_the_one_in_the_file() -> None:
    text = (DOCS / "homeassistant.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block.strip() in (EXAMPLES / "home-assistant-automation.yaml").read_text(encoding="utf-8")


class TestHomeAssistantAutomation:
    """The entities, topics and fields that it names are those of the agent."""

    automations = yaml.safe_load((EXAMPLES / "home-assistant-automation.yaml").read_text(encoding="utf-8"))

    def test_its_entities_are_those_that_discovery_makes(self) -> None:
        text = (EXAMPLES / "home-assistant-automation.yaml").read_text(encoding="utf-8")
        discovery = Discovery(HomeAssistantConfig(), TOPICS, control=True, image=True)
        message = json.loads(discovery.message().payload)
        entities = {
            f"{part['platform']}.{_slug(message['device']['name'])}_{_slug(part['name'])}"
            for part in message["components"].values()
            if "name" in part
        }
        named = set(re.findall(r"(?:event|binary_sensor|sensor|switch)\.\w+", text))
        assert named
        assert named <= entities

    def test_its_topics_are_those_of_the_agent(self) -> None:
        topics = [trigger["topic"] for _, trigger in self.triggers() if trigger["trigger"] == "mqtt"]
        assert topics == [TOPICS.event]

    @pytest.mark.parametrize(("label", "holds"), [("cat", True), ("dog", False)])
    def test_its_condition_holds_for_a_cat_only(self, label: str, holds: bool) -> None:
        automation = self.automations[0]
        trigger = SimpleNamespace(from_state=_event_state(None), to_state=_event_state(1, "dog", label))
        assert self.passes(automation, trigger) is holds
        message = automation["actions"][0]["data"]["message"]
        assert (
            environment().from_string(message).render(trigger=trigger) == "A cat instead of dog, 50.0 % sure."
        )

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            pytest.param(SimpleNamespace(state="unavailable", attributes={}), 7, id="the device is back"),
            pytest.param(None, 7, id="Home Assistant is back"),
            pytest.param(7, 7, id="the same event"),
            pytest.param(7, None, id="the device is gone"),
        ],
    )
    def test_an_old_event_that_is_shown_again_does_not_fire(self, before: Any, after: int | None) -> None:
        from_state = _event_state(before) if isinstance(before, int) else before
        trigger = SimpleNamespace(from_state=from_state, to_state=_event_state(after))
        assert not self.passes(self.automations[0], trigger)

    def test_it_is_triggered_by_attributes_alone(self) -> None:
        """Events of one millisecond have the same state: with `not_from` the second would be passed over."""
        (trigger,) = self.automations[0]["triggers"]
        assert set(trigger) == {"trigger", "entity_id"}

    @staticmethod
    def passes(automation: dict[str, Any], trigger: SimpleNamespace) -> bool:
        """Whether all conditions hold."""
        conditions = [condition["value_template"] for condition in automation["conditions"]]
        return all(
            environment().from_string(condition).render(trigger=trigger) == "True" for condition in conditions
        )

    def test_its_other_templates_render(self) -> None:
        health = json.loads(encode(samples.health()))
        event = json.loads(encode(changed(1, "cat", "dog")))

        def state_attr(entity: str, name: str) -> Any:
            assert entity == "binary_sensor.porch_camera"
            return health["camera"][name]

        messages = [automation["actions"][0]["data"]["message"] for automation in self.automations[1:]]
        trigger = SimpleNamespace(payload_json=event)
        rendered = [
            environment().from_string(message).render(state_attr=state_attr, trigger=trigger)
            for message in messages
        ]
        assert rendered == ["The porch camera: ", f"A dog, seen at {event['ts']}."]
        (value,) = [
            trigger["value_template"] for _, trigger in self.triggers() if "value_template" in trigger
        ]
        assert environment().from_string(value).render(value_json=event) == "dog"

    def triggers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for automation in self.automations:
            for trigger in automation["triggers"]:
                yield automation["alias"], trigger


class TestNodeRedFlow:
    """It can be imported, and the topics and fields that it names are those of the agent."""

    nodes = json.loads((EXAMPLES / "node-red-flow.json").read_text(encoding="utf-8"))

    def test_its_nodes_are_joined(self) -> None:
        ids = [node["id"] for node in self.nodes]
        assert len(ids) == len(set(ids))
        (tab,) = (node["id"] for node in self.nodes if node["type"] == "tab")
        (broker,) = (node["id"] for node in self.nodes if node["type"] == "mqtt-broker")
        for node in self.nodes:
            assert node.get("z", tab) == tab
            assert node.get("broker", broker) == broker or node["type"] == "mqtt-broker"
            for wire in node.get("wires", []):
                assert set(wire) <= set(ids)

    def test_its_session_outlives_an_orderly_stop(self) -> None:
        (broker,) = (node for node in self.nodes if node["type"] == "mqtt-broker")
        assert (broker["cleansession"], broker["autoUnsubscribe"]) == (False, False)
        assert int(broker["sessionExpiry"]) > 0

    def test_its_topics_are_those_of_the_agent(self) -> None:
        filters = {node["topic"] for node in self.nodes if node["type"] == "mqtt in"}
        assert filters == {topic.replace("porch", "+") for topic in (TOPICS.event, TOPICS.health)}

    def test_its_fields_are_those_of_the_payloads(self) -> None:
        flow = json.dumps(self.nodes)
        payloads = [json.loads(encode(changed(1))), json.loads(encode(samples.health()))]
        for path in set(re.findall(r"payload((?:\.[a-z_]+)+)", flow)):
            assert any(_has(payload, path.split(".")[1:]) for payload in payloads), path


class TestPythonSubscriber:
    """Run as written, on a real broker."""

    @pytest.fixture
    def agent(self, broker: Mosquitto) -> Iterator[Connection]:
        with connected(broker_config(broker.port)) as connection:
            yield connection

    @contextmanager
    def running(self, port: int) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, str(EXAMPLES / "subscriber.py"), HOST, "--port", str(port)]
        command += ["--device", "porch"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.terminate()

    def test_it_prints_each_change_and_misses_none(self, broker: Mosquitto, agent: Connection) -> None:
        def publish(*seqs: int) -> None:
            for seq in seqs:
                agent.send(Message(TOPICS.event, encode(changed(seq, "cat", f"label {seq}"))))

        line = "2025-06-01T12:00:00.123Z cat -> label {} (50%)\n"
        with self.running(broker.port) as subscriber:
            assert subscriber.stdout is not None
            self.wait_for_subscription(broker)
            publish(900, 901, 900, 901, 1, 2, 3)  # they start lower: a new SD card, and the clock is not set
            printed = [subscriber.stdout.readline() for _ in range(5)]
            assert printed == [line.format(seq) for seq in (900, 901, 1, 2, 3)]
        publish(4)
        with self.running(broker.port) as subscriber:
            assert subscriber.stdout is not None
            after = subscriber.stdout.readline()
            if after == line.format(3):  # ended before its acknowledgement was out: then it comes again
                after = subscriber.stdout.readline()
            assert after == line.format(4)

    def test_it_accepts_numbers_that_begin_again(self, broker: Mosquitto, agent: Connection) -> None:
        with self.running(broker.port) as subscriber:
            assert subscriber.stdout is not None
            self.wait_for_subscription(broker)
            for seq in (900, 901, 1):
                agent.send(Message(TOPICS.event, encode(changed(seq, "cat", f"label {seq}"))))
            printed = [subscriber.stdout.readline().split()[-2] for _ in range(3)]
            assert printed == ["900", "901", "1"]

    def test_it_goes_on_after_what_is_no_event(self, broker: Mosquitto, agent: Connection) -> None:
        bad = [
            b"",
            b"\xff\xfe",
            b"[]",
            b"7",
            b"{}",
            b'{"seq":1,"ts":"t","from":"a","to":"b","score":"x"}',
            b"[" * 9999,
        ]
        with self.running(broker.port) as subscriber:
            assert subscriber.stdout is not None
            assert subscriber.stderr is not None
            self.wait_for_subscription(broker)
            for payload in bad:
                agent.send(Message(TOPICS.event, payload))
            agent.send(Message(TOPICS.event, encode(changed(8, "cat", "\x1b[2Jdog"))))
            assert subscriber.stdout.readline() == "2025-06-01T12:00:00.123Z cat -> \\x1b[2Jdog (50%)\n"
            complaints = [subscriber.stderr.readline() for _ in bad]
            assert all(line.startswith("not an event, on edge_agent/porch/event") for line in complaints)

    def test_it_waits_for_a_broker_that_is_not_there_yet(self, broker: Mosquitto) -> None:
        broker.stop()
        with self.running(broker.port) as subscriber:
            assert subscriber.stderr is not None
            assert subscriber.stderr.readline() == f"no broker at {HOST}:{broker.port} yet\n"
            broker.start()
            self.wait_for_subscription(broker)

    @staticmethod
    def wait_for_subscription(broker: Mosquitto) -> None:
        wait_until(lambda: "changes-of-porch 1 edge_agent/porch/event" in broker.log.read_text())


def _event_state(seq: int | None, from_label: str = "dog", to_label: str = "cat") -> SimpleNamespace:
    """The event entity as a template sees it after the event `seq`; None: before the first one."""
    if seq is None:
        return SimpleNamespace(state="unknown", attributes={})
    return SimpleNamespace(
        state="2025-06-01T12:00:00.123+00:00",
        attributes=json.loads(encode(changed(seq, from_label, to_label))),
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def _has(payload: Any, path: list[str]) -> bool:
    for name in path:
        if not isinstance(payload, dict) or name not in payload:
            return False
        payload = payload[name]
    return True

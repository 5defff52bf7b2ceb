"""A publisher as the configuration says, on a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge_agent.config.schema import Config, ControlConfig, HomeAssistantConfig
from edge_agent.mqtt.assembly import make_publisher
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.events.queue import MemoryEvents
from edge_agent.mqtt.publisher import Subscription
from edge_agent.mqtt.wire.connection import Connection
from edge_agent.system.clock import SystemClock
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt.brokers import HOST, Mosquitto, collect
from tests.mqtt.samples import TOPICS, broker_config
from tests.mqtt.test_publisher import is_

DISCOVERY = "homeassistant/device/porch/config"


@contextmanager
def assembled(config: Config, *heard: Subscription) -> Iterator[None]:
    publisher = make_publisher(
        config,
        TOPICS,
        heard,
        clock=SystemClock(),
        events=MemoryEvents(10),
        on_status=lambda _: None,
        environment={},
    )
    publisher.start()
    assert publisher.wait_connected(10)
    yield
    publisher.stop()


@pytest.fixture
def other(broker: Mosquitto) -> Iterator[Connection]:
    """Another client of the broker: a user's, or Home Assistant."""
    connection = Connection(broker_config(broker.port), "other", "5", environment={})
    connection.open(SystemClock())
    yield connection
    connection.close(goodbye=True)


def config(broker: Mosquitto, *, control: bool, homeassistant: bool) -> Config:
    return Config(
        device_id="porch",
        mqtt=broker_config(broker.port),
        control=ControlConfig(enabled=control),
        homeassistant=HomeAssistantConfig(enabled=homeassistant),
    )


def test_by_default_nothing_is_announced(broker: Mosquitto, other: Connection) -> None:
    with (
        Subscriber(HOST, broker.port, "#") as subscriber,
        assembled(config(broker, control=False, homeassistant=False)),
    ):
        messages = collect(subscriber, is_(TOPICS.availability, b"online"))
        other.send(Message("homeassistant/status", b"online"))
        other.send(Message("the/end", b""))
        messages += collect(subscriber, is_("the/end"))
    assert DISCOVERY not in {message.topic for message in messages}


@pytest.mark.parametrize("control", [True, False])
def test_home_assistant_gets_the_device_and_gets_it_again_when_it_starts(
    broker: Mosquitto, other: Connection, control: bool
) -> None:
    heard: list[Incoming] = []
    requests = Subscription(TOPICS.request("#"), heard.append)
    with (
        Subscriber(HOST, broker.port, DISCOVERY) as subscriber,
        assembled(config(broker, control=control, homeassistant=True), requests),
    ):
        (first,) = collect(subscriber, is_(DISCOVERY))
        other.send(Message(TOPICS.request("pause"), b""))
        other.send(Message("homeassistant/status", b"online"))
        collect(subscriber, is_(DISCOVERY, first.payload))
    assert ("command_topic" in json.loads(first.payload)["components"]["pause"]) is control
    assert [message.topic for message in heard] == [TOPICS.request("pause")]

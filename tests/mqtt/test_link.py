"""The link to a real broker: what Home Assistant gets, requests, and the change to another broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from edge_agent.config.schema import Config, ControlConfig, HomeAssistantConfig, LabelsConfig, RegionConfig
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import EventImageInfo
from edge_agent.mqtt.link import BrokerLink
from edge_agent.mqtt.wire.connection import Connection
from edge_agent.system.clock import SystemClock
from edge_agent.system.wake import Wake
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto, collect, wait_until
from tests.mqtt.helpers import FakeAgent, MemoryEvents, connected, is_, wait_connected
from tests.mqtt.samples import NOON, TOPICS, broker_config

KINDS = ("state", "event")
RETAINED = ("state", "event_image", "event_image/info")
DISCOVERY = "homeassistant/device/porch/config"


def make_link(config: Config) -> BrokerLink:
    return BrokerLink(config, events=MemoryEvents(), clock=SystemClock(), wake=Wake().ring, environment={})


@contextmanager
def linked(config: Config, agent: FakeAgent | None = None) -> Iterator[BrokerLink]:
    link = make_link(config)
    link.start(agent or FakeAgent())
    try:
        wait_connected(link)
        yield link
    finally:
        link.stop()


@pytest.fixture
def other(broker: Mosquitto) -> Iterator[Connection]:
    """Another client of the broker: a user's, or Home Assistant."""
    with connected(broker_config(broker.port)) as connection:
        yield connection


def config(broker: Mosquitto, *, control: bool, homeassistant: bool) -> Config:
    return Config(
        device_id="porch",
        mqtt=broker_config(broker.port),
        control=ControlConfig(enabled=control),
        homeassistant=HomeAssistantConfig(enabled=homeassistant),
    )


def collect_all(connection: Connection, count: int) -> list[Incoming]:
    """The next messages that come."""
    came: list[Incoming] = []

    def enough() -> bool:
        came.extend(item for item in connection.step(0.05) if isinstance(item, Incoming))
        return len(came) >= count

    wait_until(enough)
    return came


def test_by_default_nothing_is_announced(broker: Mosquitto, other: Connection) -> None:
    with (
        Subscriber(HOST, broker.port, "#") as subscriber,
        linked(config(broker, control=False, homeassistant=False)),
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
    agent = FakeAgent()
    with (
        Subscriber(HOST, broker.port, DISCOVERY) as subscriber,
        linked(config(broker, control=control, homeassistant=True), agent) as link,
    ):
        (first,) = collect(subscriber, is_(DISCOVERY))
        other.send(Message(TOPICS.request("pause"), b""))
        other.send(Message("homeassistant/status", b"online"))
        collect(subscriber, is_(DISCOVERY, first.payload))
        link.carry_out_requests()
    assert ("command_topic" in json.loads(first.payload)["components"]["pause"]) is control
    assert agent.paused is control


def test_a_new_broker_is_greeted_with_info_and_state_and_the_old_one_hears_offline(
    make_broker: Callable[..., Mosquitto],
) -> None:
    old, new = make_broker(), make_broker()
    settings = config(old, control=True, homeassistant=False)
    with (
        Subscriber(HOST, old.port, TOPICS.availability) as left,
        Subscriber(HOST, new.port, "#") as found,
        linked(settings) as link,
    ):
        link.publish_info(samples.info())
        link.publish_state(samples.state(7))
        link.reconnect(replace(settings, mqtt=broker_config(new.port)))
        collect(left, is_(TOPICS.availability, b"offline"))
        greeting = collect(found, is_(TOPICS.availability, b"online"))
    assert [message.topic for message in greeting] == [TOPICS.info, TOPICS.state, TOPICS.availability]


def test_regions_have_topics_of_their_own_and_one_that_goes_is_forgotten_by_the_broker(
    broker: Mosquitto, other: Connection
) -> None:
    regions = {name: RegionConfig() for name in ("gate", "door")}
    watching = replace(config(broker, control=False, homeassistant=True), regions=regions)
    other.subscribe("edge_agent/porch/region/#")
    with linked(watching) as link:
        for seq, region in enumerate(regions, 1):
            link.publish_state(samples.state(seq, region=region))
            link.publish_event(samples.changed(seq + 10, region=region))
        came = {message.topic: message for message in collect_all(other, 4)}
        assert set(came) == {f"edge_agent/porch/region/{name}/{kind}" for name in regions for kind in KINDS}
        assert json.loads(came["edge_agent/porch/region/gate/event"].payload)["region"] == "gate"
        link.adopt(replace(watching, regions={"gate": RegionConfig()}))
        forgotten = {message.topic for message in collect_all(other, 3)}
        assert forgotten == {f"edge_agent/porch/region/door/{kind}" for kind in RETAINED}
        with Subscriber(HOST, broker.port, "edge_agent/porch/region/#") as late:
            kept = collect(late, is_("edge_agent/porch/region/gate/state"))
        assert [message.topic for message in kept] == ["edge_agent/porch/region/gate/state"]


def test_requests_can_be_allowed_later(broker: Mosquitto, other: Connection) -> None:
    agent = FakeAgent()
    closed = config(broker, control=False, homeassistant=False)
    with linked(closed, agent) as link:
        link.reconnect(config(broker, control=True, homeassistant=False))
        wait_until(lambda: TOPICS.request("#") in broker.log.read_text())  # the subscription has arrived
        other.send(Message(TOPICS.request("pause"), b""))

        def is_paused() -> bool:
            link.carry_out_requests()
            return agent.paused

        wait_until(is_paused)


def test_what_is_published_before_the_start_waits_for_it(broker: Mosquitto) -> None:
    link = make_link(config(broker, control=False, homeassistant=False))
    link.publish_state(samples.state(1))
    link.publish_event(samples.changed(2))
    assert (link.status.connected, link.status.queued_events) == (False, 1)
    with Subscriber(HOST, broker.port, "#") as subscriber:
        link.start(FakeAgent())
        messages = collect(subscriber, is_(TOPICS.event))
    link.stop()
    assert [message.topic for message in messages] == [TOPICS.state, TOPICS.availability, TOPICS.event]


def test_labels_that_change_while_it_runs_are_announced_and_so_for_the_next_start_of_home_assistant(
    broker: Mosquitto, other: Connection
) -> None:
    def options(message: Incoming) -> list[str]:
        return list(json.loads(message.payload)["components"]["label"].get("options", []))

    before = config(broker, control=False, homeassistant=True)
    after = replace(before, labels=LabelsConfig(allow=("cat", "dog")))
    with Subscriber(HOST, broker.port, "#") as subscriber, linked(before) as link:
        assert options(collect(subscriber, is_(DISCOVERY))[-1]) == []
        link.adopt(after)
        assert options(collect(subscriber, is_(DISCOVERY))[-1]) == ["cat", "dog", "unknown"]
        other.send(Message("homeassistant/status", b"online"))
        assert options(collect(subscriber, is_(DISCOVERY))[-1]) == ["cat", "dog", "unknown"]


def test_the_picture_of_an_event_is_kept_by_the_broker_with_the_number_of_its_event(
    broker: Mosquitto,
) -> None:
    with linked(config(broker, control=False, homeassistant=False)) as link:
        with Subscriber(HOST, broker.port, f"{TOPICS.root}/#") as subscriber:
            for seq in (4, 5):
                link.publish_event_image(b"jpeg %d" % seq, EventImageInfo(seq, NOON, True, "cat", 0.5))
            collect(subscriber, is_(TOPICS.event_image, b"jpeg 5"))
        with Subscriber(HOST, broker.port, f"{TOPICS.event_image}/#") as late:
            kept = {message.topic: message for message in (late.next(5), late.next(5)) if message}
    assert kept[TOPICS.event_image].payload == b"jpeg 5"
    assert json.loads(kept[TOPICS.event_image_info].payload)["seq"] == 5
    assert all(message.retained for message in kept.values())

"""Brokers that do not offer everything, or hang up instead of saying what they do not take."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.publisher import Publisher, Subscription
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt import hostile, samples
from tests.mqtt.brokers import HOST, Mosquitto, collect, wait_until
from tests.mqtt.helpers import is_, publishing
from tests.mqtt.hostile import PUBLISH, SUBSCRIBE, Behaviour, serve
from tests.mqtt.samples import TOPICS, broker_config, changed

MakeBroker = Callable[..., Mosquitto]


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
@pytest.mark.parametrize(
    ("config", "lacks"),
    [
        ("retain_available false\n", ("retained messages",)),
        ("max_qos 0\n", ("QoS 1",)),
        ("retain_available false\nmax_qos 0\n", ("retained messages", "QoS 1")),
    ],
)
def test_a_broker_without_retained_messages_or_qos_1_is_used_as_it_is(
    make_broker: MakeBroker,
    config: str,
    lacks: tuple[str, ...],
    protocol: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = f"listener {{port}} {HOST}\n"
    broker = make_broker(listener + config)
    with (
        Subscriber(HOST, broker.port, "edge_agent/#") as subscriber,
        caplog.at_level(logging.WARNING),
        publishing(broker_config(broker.port, protocol=protocol)) as publisher,
    ):
        publisher.publish_state(samples.state())
        publisher.publish_event(changed(1))
        publisher.publish_health(samples.health())
        publisher.publish(Message("edge_agent/porch/response/x", b"answer"))
        received = collect(subscriber, is_("edge_agent/porch/response/x"))
        assert {message.topic for message in received} >= {TOPICS.state, TOPICS.event, TOPICS.health}
        assert publisher.status.lacks == lacks
        assert publisher.status.health().lacks == lacks
        assert tuple(loss.lacks for loss in publisher.status.losses) == lacks
        wait_until(lambda: publisher.status.queued_events == 0)
        assert publisher.status.reconnects == 0
    for lack in lacks:
        assert caplog.text.count(f"the broker takes no {lack}: ") == 1


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_an_ordinary_broker_lacks_nothing(broker: Mosquitto, protocol: str) -> None:
    with publishing(broker_config(broker.port, protocol=protocol)) as publisher:
        assert publisher.status.lacks == ()


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_broker_that_only_comes_back_after_hang_ups_is_not_taken_for_a_lesser_one(protocol: str) -> None:
    greetings = 0

    def behaviour(peer: hostile.Peer) -> None:
        nonlocal greetings
        greetings += 1
        if greetings > 9:
            peer.accept()
            for packet in peer.packets():
                peer.acknowledge(packet)

    with serve(behaviour) as server, publishing(broker_config(server.port, protocol=protocol)) as publisher:
        assert publisher.status.lacks == ()


def hangs_up_on(forbidden: str, seen: list[str]) -> Behaviour:
    """A 3.1.1 broker that closes the connection for a message on such a topic, or a subscription to it."""

    def behaviour(peer: hostile.Peer) -> None:
        peer.accept()
        for packet in peer.packets():
            if packet.kind in (PUBLISH, SUBSCRIBE):
                if packet.topic == forbidden:
                    return
                seen.append(packet.topic)
                peer.acknowledge(packet)

    return behaviour


def publish_everything(publisher: Publisher) -> None:
    publisher.publish_info(samples.info())
    publisher.publish_state(samples.state())
    publisher.publish_health(samples.health())
    publisher.publish_prediction(samples.prediction())
    publisher.publish_image(b"jpeg")


REPEATED = (TOPICS.info, TOPICS.state, TOPICS.health, TOPICS.prediction, TOPICS.image)
EVERYTHING = (*REPEATED, TOPICS.event, TOPICS.availability, TOPICS.request("#"))


@pytest.mark.parametrize("forbidden", EVERYTHING)
def test_a_topic_that_a_broker_hangs_up_on_is_named_and_set_aside_and_the_others_go_on(
    forbidden: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    with serve(hangs_up_on(forbidden, seen)) as server:
        config = broker_config(server.port, protocol="3.1.1")
        requests = Subscription(TOPICS.request("#"), lambda _: None)
        with publishing(config, wait=False, subscriptions=[requests]) as publisher:
            publisher.publish_event(changed(1))

            def have_arrived(topics: tuple[str, ...]) -> bool:
                publish_everything(publisher)
                return set(topics) - {forbidden} <= set(seen)

            def is_named() -> bool:
                publish_everything(publisher)
                return f"after a message on {forbidden}," in caplog.text

            wait_until(is_named)
            wait_until(lambda: have_arrived(EVERYTHING))
            wait_until(lambda: publisher.status.reconnects == 3)
            del seen[:]
            wait_until(lambda: have_arrived(REPEATED))
            assert forbidden not in seen
            assert publisher.status.reconnects == 3
            assert publisher.status.queued_events == (1 if forbidden == TOPICS.event else 0)
    assert caplog.text.count("gets none there for now") == 1

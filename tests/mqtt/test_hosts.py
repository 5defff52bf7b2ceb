"""An agent with several brokers goes to the next when one is killed, and loses no event on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from edge_agent.config.schema import MqttConfig
from edge_agent.mqtt.publisher import Publisher, Subscription, Timing, longest_pause_s
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto, collect, free_port, wait_until
from tests.mqtt.helpers import publishing
from tests.mqtt.hostile import SUBSCRIBE, Peer, serve
from tests.mqtt.samples import TOPICS, broker_config

MakeBroker = Callable[..., Mosquitto]
WITHIN_S = 30.0
FIRST = Timing(jitter=lambda: 0.0)


def is_at(publisher: Publisher, broker: Mosquitto) -> Callable[[], bool]:
    return lambda: publisher.status.broker == f"{HOST}:{broker.port}"


def test_it_goes_to_the_next_and_back_as_brokers_are_killed(make_broker: MakeBroker) -> None:
    one, two = make_broker(), make_broker()
    config = broker_config(0, hosts=(f"{HOST}:{one.port}", f"{HOST}:{two.port}"))
    with publishing(config, timing=FIRST) as publisher:
        assert is_at(publisher, one)()
        one.kill()
        wait_until(is_at(publisher, two), WITHIN_S)
        one.start()
        two.kill()
        wait_until(is_at(publisher, one), WITHIN_S)
        assert publisher.status.reconnects == 2
        assert publisher.status.health().broker == f"{HOST}:{one.port}"


def test_state_info_and_events_come_to_the_next_broker(make_broker: MakeBroker) -> None:
    one, two = make_broker(), make_broker()
    config = broker_config(0, hosts=(f"{HOST}:{one.port}", f"{HOST}:{two.port}"))
    with publishing(config, timing=FIRST) as publisher, Subscriber(HOST, two.port, "#") as subscriber:
        publisher.publish_info(samples.info())
        publisher.publish_state(samples.state())
        wait_until(lambda: publisher.status.published >= 3)
        one.kill()
        wait_until(lambda: not publisher.status.connected)
        for seq in range(10, 15):
            publisher.publish_event(samples.changed(seq))
        seen = collect(subscriber, lambda m: m.topic == TOPICS.event and json.loads(m.payload)["seq"] == 14)
    assert [json.loads(m.payload)["seq"] for m in seen if m.topic == TOPICS.event] == list(range(10, 15))
    assert {TOPICS.info, TOPICS.state, TOPICS.availability} <= {m.topic for m in seen}


def test_a_broker_that_hangs_is_left_as_well(make_broker: MakeBroker) -> None:
    one, two = make_broker(), make_broker()
    config = broker_config(0, hosts=(f"{HOST}:{one.port}", f"{HOST}:{two.port}"), protocol="5")
    one.send(19)  # SIGSTOP: it accepts connections, and says nothing
    with publishing(config, wait=False, timing=Timing(jitter=lambda: 0.0, answer_timeout_s=1)) as publisher:
        wait_until(is_at(publisher, two), WITHIN_S)


def test_where_some_refuse_the_next_is_tried_at_once(broker: Mosquitto) -> None:
    hosts = (f"{HOST}:{free_port()}", f"{HOST}:{free_port()}", f"{HOST}:{broker.port}")
    config = broker_config(0, hosts=hosts, reconnect_min_s=60, reconnect_max_s=60)
    with publishing(config, timing=FIRST) as publisher:
        assert is_at(publisher, broker)()


@pytest.mark.parametrize(("brokers", "sent"), [(1, [1, 2, 3]), (2, [1])], ids=["one", "several"])
def test_with_several_brokers_an_event_waits_for_the_answer_to_the_one_before(
    brokers: int, sent: list[int]
) -> None:
    seen: list[int] = []
    others: list[str] = []

    def behaviour(peer: Peer) -> None:
        peer.accept()
        for packet in peer.packets():
            if packet.topic == TOPICS.event:
                seen.append(json.loads(packet.body[packet.body.index(b"{") :])["seq"])
            else:
                peer.acknowledge(packet)
                others.append(packet.topic)

    with serve(behaviour) as server:
        config = broker_config(0, hosts=(f"{HOST}:{server.port}",) * brokers, protocol="3.1.1")
        with publishing(config, timing=FIRST) as publisher:
            for seq in (1, 2, 3):
                publisher.publish_event(samples.changed(seq))
            wait_until(lambda: bool(seen))
            publisher.publish_state(samples.state())
            wait_until(lambda: TOPICS.state in others)
            publisher.publish_health(samples.health())
            wait_until(lambda: TOPICS.health in others)
            assert seen == sent


@pytest.mark.parametrize(("brokers", "times"), [(1, 1), (2, 2)], ids=["one", "several"])
def test_with_several_brokers_what_is_kept_is_asked_for_again_once_the_connection_lasts(
    brokers: int, times: int
) -> None:
    """A node of NATS can pass over what changes just when somebody subscribes."""
    asked: list[str] = []

    def behaviour(peer: Peer) -> None:
        peer.accept()
        for packet in peer.packets():
            peer.acknowledge(packet)
            if packet.kind == SUBSCRIBE:
                asked.append(packet.topic)

    with serve(behaviour) as server:
        config = broker_config(0, hosts=(f"{HOST}:{server.port}",) * brokers, protocol="3.1.1")
        subscriptions = (
            Subscription("a/wanted", lambda _: None, retained=True),
            Subscription("a/request/#", lambda _: None),
        )
        timing = Timing(jitter=lambda: 0.0, stable_s=0.2)
        with publishing(config, timing=timing, subscriptions=subscriptions) as publisher:
            time.sleep(0.3)
            publisher.publish_state(samples.state())
            wait_until(lambda: asked.count("a/wanted") == times)
            publisher.publish_health(samples.health())
            time.sleep(0.3)
            assert sorted(asked) == ["a/request/#"] + times * ["a/wanted"]


def test_of_several_brokers_the_pauses_grow_less_than_of_one() -> None:
    several = MqttConfig(reconnect_min_s=2, reconnect_max_s=120)
    assert longest_pause_s(several, 1) == 120
    assert longest_pause_s(several, 3) == 8
    assert longest_pause_s(MqttConfig(reconnect_min_s=2, reconnect_max_s=5), 3) == 5


def test_many_agents_begin_at_different_brokers(make_broker: MakeBroker) -> None:
    one, two = make_broker(), make_broker()
    config = broker_config(0, hosts=(f"{HOST}:{one.port}", f"{HOST}:{two.port}"))
    with publishing(config, timing=Timing(jitter=lambda: 0.4)) as first:
        assert is_at(first, one)()
    with publishing(config, timing=Timing(jitter=lambda: 0.6)) as second:
        assert is_at(second, two)()

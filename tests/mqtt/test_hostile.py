"""Brokers and clients that mean harm: memory stays bounded, connecting ends, and events go on."""

from __future__ import annotations

import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config.schema import Config, ControlConfig, HomeAssistantConfig, OutboxConfig, TlsConfig
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.events.outbox import SPILL_AFTER_S, open_outbox
from edge_agent.mqtt.link import BrokerLink
from edge_agent.mqtt.publisher import Subscription, Timing
from edge_agent.mqtt.wire.connection import Connection, MqttVersion
from edge_agent.mqtt.wire.guarded import MAX_PACKET_BYTES
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.clock import SystemClock
from edge_agent.system.lookup import Lookup
from edge_agent.tools.demo.subscriber import Subscriber
from tests.clock import LeapingClock
from tests.mqtt import hostile
from tests.mqtt.brokers import HOST, Mosquitto, collect, wait_until
from tests.mqtt.flood import Flood
from tests.mqtt.helpers import (
    Bench,
    FakeAgent,
    MemoryEvents,
    connected,
    is_,
    make_publisher,
    publishing,
    use,
    wait_connected,
)
from tests.mqtt.hostile import MEGABYTE, Behaviour, serve
from tests.mqtt.samples import TOPICS, broker_config, changed
from tests.resolver import HangingResolver

IN_THE_KERNEL = 16 * MEGABYTE  # what its buffers take of what nobody reads


def trouble_with(
    behaviour: Behaviour, protocol: MqttVersion = "5", timeout_s: float = 5.0, **changes: object
) -> tuple[BrokerConnectionError, int, float]:
    """The error of connecting, how much the server could send, and how long it took."""
    with serve(behaviour) as server:
        connection = Connection(broker_config(server.port, **changes), "test", protocol, environment={})
        started_s = time.monotonic()
        with pytest.raises(BrokerConnectionError) as raised:
            use(connection, timeout_s)
        took_s = time.monotonic() - started_s
        connection.close(goodbye=False)
        return raised.value, server.sent_bytes, took_s


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("behaviour", [hostile.huge_connack, hostile.huge_request])
def test_a_packet_too_large_ends_the_connection_before_it_is_received(
    behaviour: Behaviour, protocol: MqttVersion
) -> None:
    error, sent_bytes, _ = trouble_with(behaviour, protocol)
    assert error.trouble is Trouble.TOO_LARGE
    assert sent_bytes < IN_THE_KERNEL


def test_a_websocket_frame_too_large_ends_the_connection() -> None:
    error, sent_bytes, _ = trouble_with(hostile.huge_websocket_frame, transport="websockets")
    assert error.trouble is Trouble.TOO_LARGE
    assert sent_bytes < IN_THE_KERNEL


def test_a_websocket_header_without_end_ends_the_connection() -> None:
    error, sent_bytes, took_s = trouble_with(hostile.endless_websocket, transport="websockets")
    assert error.trouble is Trouble.TOO_LARGE
    assert (sent_bytes < IN_THE_KERNEL, took_s < 5) == (True, True)


def test_the_broker_is_told_how_large_a_packet_may_be() -> None:
    greetings: list[bytes] = []

    def listen(peer: hostile.Peer) -> None:
        packet = peer.packet()
        assert packet is not None
        greetings.append(packet.body)

    trouble_with(listen)
    assert b"\x27" + MAX_PACKET_BYTES.to_bytes(4, "big") in greetings[0]


def test_mosquitto_does_not_pass_on_what_is_too_large(broker: Mosquitto) -> None:
    received: list[Incoming] = []
    subscription = Subscription(TOPICS.request("#"), received.append)
    with (
        publishing(broker_config(broker.port), subscriptions=[subscription]) as publisher,
        connected(broker_config(broker.port), "3.1.1") as other,
    ):
        wait_until(lambda: "request/#" in broker.log.read_text())
        for payload in (b"x" * MEGABYTE, b"small"):
            other.send(Message(TOPICS.request("pause"), payload))
            other.step(1)
        wait_until(lambda: bool(received))
        assert [message.payload for message in received] == [b"small"]
        assert publisher.status.reconnects == 0


def test_a_retained_request_that_is_too_large_does_not_keep_events_from_the_broker(broker: Mosquitto) -> None:
    with connected(broker_config(broker.port), "3.1.1") as other:
        other.send(Message(TOPICS.request("pause"), b"x" * MEGABYTE, retain=True))
        while not other.step(5):
            pass
    subscription = Subscription(TOPICS.request("#"), lambda _: None)
    config = broker_config(broker.port, protocol="3.1.1")
    with (
        Subscriber(HOST, broker.port, TOPICS.event) as subscriber,
        publishing(config, wait=False, subscriptions=[subscription]) as publisher,
    ):
        publisher.publish_event(changed(1))
        collect(subscriber, is_(TOPICS.event))
        wait_until(lambda: publisher.status.reconnects == 1)
        publisher.publish_event(changed(2))
        collect(subscriber, is_(TOPICS.event))
        time.sleep(0.5)
        assert publisher.status.connected
        assert publisher.status.reconnects == 1


@pytest.mark.parametrize(
    ("behaviour", "changes"),
    [
        (hostile.silent, {}),
        (hostile.mute, {"tls": TlsConfig(enabled=True)}),
        (hostile.mute, {"transport": "websockets"}),
        (hostile.slow_websocket(0.05), {"transport": "websockets"}),
    ],
    ids=["greeting", "TLS handshake", "websocket, nothing", "websocket, a byte at a time"],
)
def test_there_is_one_deadline_for_all_of_connecting(behaviour: Behaviour, changes: dict[str, Any]) -> None:
    error, _, took_s = trouble_with(behaviour, timeout_s=1.0, **changes)
    assert error.trouble is Trouble.SILENT
    assert 0.9 < took_s < 2.0


def test_a_name_server_that_hangs_is_waited_for_no_longer_than_the_broker() -> None:
    config = broker_config(1883, host="broker.home", reconnect_min_s=0.1, reconnect_max_s=0.1)
    with HangingResolver() as resolver:
        publisher = make_publisher(config, lookup=Lookup(resolver), timing=Timing(answer_timeout_s=0.2))
        publisher.start()
        wait_until(lambda: publisher.status.trouble is Trouble.DNS, timeout_s=2)
        assert publisher.status.detail == "broker.home:1883: the name server does not answer"
        time.sleep(0.5)
        started_s = time.monotonic()
        publisher.stop(1.0)
        assert time.monotonic() - started_s < 0.5
        assert resolver.asked == ["broker.home"]


def places_in(directory: Path) -> dict[str, str]:
    return {"STATE_DIRECTORY": str(directory / "state"), "RUNTIME_DIRECTORY": str(directory / "run")}


@pytest.mark.parametrize(
    ("behaviour", "changes"),
    [
        (hostile.slow_websocket(0.2), {"transport": "websockets"}),
        pytest.param(hostile.silent, {}, marks=pytest.mark.attack),
    ],
    ids=["websocket, a byte at a time", "a broker that never answers"],
)
def test_events_are_on_disk_within_five_seconds_while_connecting_hangs(
    tmp_path: Path, behaviour: Behaviour, changes: dict[str, object]
) -> None:
    clock = LeapingClock()
    outbox = open_outbox(OutboxConfig(), clock, places_in(tmp_path))
    with (
        serve(behaviour) as server,
        publishing(broker_config(server.port, **changes), wait=False, events=outbox) as publisher,
    ):
        wait_until(lambda: len(server.peers) > 0)
        publisher.publish_event(changed(1))
        clock.ahead_s = SPILL_AFTER_S
        wait_until(lambda: publisher.status.outbox == "disk", timeout_s=2)
        assert len(server.peers) <= 2
    outbox.close()


def test_events_are_on_disk_within_five_seconds_while_the_broker_is_frozen(
    tmp_path: Path, broker: Mosquitto
) -> None:
    clock = LeapingClock()
    outbox = open_outbox(OutboxConfig(), clock, places_in(tmp_path))
    with publishing(broker_config(broker.port, keepalive_s=5), events=outbox) as publisher:
        broker.send(signal.SIGSTOP)
        publisher.publish_event(changed(1))
        clock.ahead_s = SPILL_AFTER_S
        wait_until(lambda: publisher.status.outbox == "disk", timeout_s=2)
        broker.send(signal.SIGCONT)
    outbox.close()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("404 Not Found", "404 Not Found"),
        ("401 Unauthorized", "401 Unauthorized"),
        ("502 Bad Gateway", "502 Bad Gateway"),
        ("200 \x1b[31mred\x07", "200 \\x1b[31mred\\x07"),
    ],
)
def test_a_web_server_without_the_websocket_is_named_with_its_status(status: str, said: str) -> None:
    error, _, took_s = trouble_with(hostile.http(status), transport="websockets", websocket_path="/broker")
    assert error.trouble is Trouble.WEBSOCKET
    assert f"handshake on /broker with HTTP status {said}" in str(error)
    assert "check mqtt.websocket_path" in str(error)
    assert took_s < 2


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400))
def test_whatever_a_server_answers_is_an_error_of_the_connection(answer: bytes) -> None:
    def behaviour(peer: hostile.Peer) -> None:
        peer.packet()
        peer.send(answer)

    trouble_with(behaviour)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["5", "3.1.1"]))
def test_whatever_a_broker_sends_later_is_an_error_of_the_connection(
    answer: bytes, protocol: MqttVersion
) -> None:
    def behaviour(peer: hostile.Peer) -> None:
        peer.accept()
        peer.send(answer)

    trouble_with(behaviour, protocol)


def test_events_go_on_while_requests_and_births_flood_in(broker: Mosquitto) -> None:
    config = Config(
        device_id="porch",
        mqtt=broker_config(broker.port),
        homeassistant=HomeAssistantConfig(enabled=True),
        control=ControlConfig(enabled=True, max_per_minute=6000),
    )
    link = BrokerLink(config, events=MemoryEvents(), clock=SystemClock(), wake=lambda: None, environment={})
    agent = FakeAgent()
    stopping = threading.Event()

    def main_thread() -> None:
        while not stopping.wait(0.001):
            link.carry_out_requests()

    waited_s: list[float] = []
    seen: list[Incoming] = []
    working = threading.Thread(target=main_thread)
    with Subscriber(HOST, broker.port, "#") as subscriber:
        link.start(agent)
        working.start()
        try:
            wait_connected(link)
            with Flood(broker.port, TOPICS.request("config/get"), "homeassistant/status"):
                collect(subscriber, is_(TOPICS.response("config/get")))
                for seq in range(1, 101):
                    put_s = time.monotonic()
                    link.publish_event(changed(seq))
                    seen += collect(subscriber, is_(TOPICS.event), timeout_s=60)
                    waited_s.append(time.monotonic() - put_s)
        finally:
            stopping.set()
            working.join()
            link.stop()
    assert statistics.median(waited_s) < 1  # each arrived; a busy machine may delay one
    discoveries = [message for message in seen if message.topic == "homeassistant/device/porch/config"]
    assert len(discoveries) <= 8
    assert link.status.reconnects == 0


def test_of_replies_and_events_that_wait_the_events_go_first() -> None:
    order: list[str] = []
    ready = threading.Event()

    def behaviour(peer: hostile.Peer) -> None:
        peer.accept()
        ready.wait(5)
        for packet in peer.packets():
            order.append(packet.topic)
            peer.acknowledge(packet)

    with serve(behaviour) as server, publishing(broker_config(server.port, protocol="3.1.1")) as publisher:
        for number in range(40):
            publisher.publish(Message("answer", b"%d" % number))
        publisher.publish_event(changed(1))
        ready.set()
        wait_until(lambda: order.count("answer") >= 40)
        assert order.index(TOPICS.event) <= 25  # what was on its way already goes before it


class TestResponseTopics:
    """Answers go only where nobody takes them for something else."""

    @pytest.mark.parametrize(
        "topic",
        [
            "edge_agent/other/request/pause",
            "edge_agent/other/state",
            "edge_agent/porch/info",
            "edge_agent/porch/availability",
            "edge_agent/porch/anything",
            "cameras/yard/request/pause",
            "cameras/yard/event",
            "homeassistant/status",
            "homeassistant/device/other/config",
            "$SYS/broker/uptime",
            "$share/group/x",
            "a/+/b",
            "a/#",
            "a\0b",
            "a\x1b[31m",
            "x" * 70_000,
        ],
    )
    def test_no_answer_goes_to(self, topic: str) -> None:
        (answer,) = Bench().ask("pause", response_topic=topic)
        assert answer.topic == TOPICS.response("pause")

    @pytest.mark.parametrize(
        "topic",
        ["edge_agent/porch/response/me", "edge_agent/hub/response/porch/pause", "clients/7", "replies/état"],
    )
    def test_answers_go_to(self, topic: str) -> None:
        (answer,) = Bench().ask("pause", response_topic=topic)
        assert (answer.topic, answer.retain) == (topic, False)

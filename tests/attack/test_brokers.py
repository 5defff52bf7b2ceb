"""The running daemon against brokers and clients that mean harm: it goes on, and loses no event."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from edge_agent.memory.procfs import read_memory
from edge_agent.mqtt.wire.connection import Connection, MqttVersion
from edge_agent.mqtt.wire.status import BrokerConnectionError
from edge_agent.tools.demo.subscriber import Subscriber
from tests.attack.damage import damaged
from tests.attack.tally import Tally
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import DEVICE
from tests.daemon.process import Daemon
from tests.mqtt import hostile
from tests.mqtt.brokers import HOST, Mosquitto, wait_until
from tests.mqtt.flood import Flood
from tests.mqtt.helpers import use
from tests.mqtt.hostile import ACCEPTED, PINGRESP, PUBLISH, SUBACK, Behaviour, Peer, serve, varint
from tests.mqtt.samples import TOPICS, broker_config

pytestmark = [pytest.mark.attack, pytest.mark.timeout(1200)]

_EVENT = f"edge_agent/{DEVICE}/event"
_MOST_GROWTH_MB = 16.0
_WEBSOCKET = {"transport": "websockets"}
_MODES: dict[str, tuple[Behaviour, dict[str, Any]]] = {
    "a greeting of 256 MB": (hostile.huge_connack, {"protocol": "5"}),
    "a greeting of 256 MB, MQTT 3": (hostile.huge_connack, {"protocol": "3.1.1"}),
    "a request of 150 MB": (hostile.huge_request, {"protocol": "5"}),
    "a request of 150 MB, MQTT 3": (hostile.huge_request, {"protocol": "3.1.1"}),
    "a websocket frame of 256 MB": (hostile.huge_websocket_frame, _WEBSOCKET),
    "a websocket header without end": (hostile.endless_websocket, _WEBSOCKET),
    "a websocket, a byte at a time": (hostile.slow_websocket(0.05), _WEBSOCKET),
    "a websocket, nothing": (hostile.mute, _WEBSOCKET),
    "a web server": (hostile.http("200 \x1b[31mred\x07"), _WEBSOCKET),
    "no greeting": (hostile.silent, {}),
}


# An acknowledged subscription, a request with QoS 0, one with QoS 1, a ping's answer.
_REQUEST = len(TOPICS.request("pause")).to_bytes(2, "big") + TOPICS.request("pause").encode()
_PACKETS = b"".join(
    bytes([first]) + varint(len(body)) + body
    for first, body in (
        (SUBACK << 4, b"\0\1\1"),
        (PUBLISH << 4, _REQUEST + b"{}"),
        (PUBLISH << 4 | 2, _REQUEST + b"\0\7{}"),
        (PINGRESP << 4, b""),
    )
)


@contextmanager
def attacked(start: StartDaemon, broker: Mosquitto) -> Iterator[tuple[Daemon, Subscriber]]:
    """A daemon that answers requests, is known to Home Assistant, and classifies four pictures a second."""
    with Subscriber(HOST, broker.port, _EVENT) as events:
        daemon = start(
            source={"fps": 4},
            homeassistant={"enabled": True},
            control={"enabled": True, "max_per_minute": 6000},
        )
        assert events.next(60) is not None
        time.sleep(3)  # until it has taken what it takes
        yield daemon, events
        assert daemon.running


def labels(events: Subscriber, count: int) -> list[tuple[str, str]]:
    """What the next `count` events change from and to; each that comes twice is taken once."""
    found: dict[int, tuple[str, str]] = {}
    while len(found) < count:
        message = events.next(15)
        assert message is not None, f"{len(found)} of {count} events came"
        event = json.loads(message.payload)
        found[event["seq"]] = (event["from"], event["to"])
    assert list(found) == sorted(found)
    return list(found.values())


def assert_none_lost(changes: list[tuple[str, str]]) -> None:
    """Each event changes from what the one before it has changed to."""
    assert all(before[1] == after[0] for before, after in pairwise(changes)), changes


def test_hostile_brokers(start: StartDaemon, broker: Mosquitto, tally: Tally) -> None:
    """The daemon is sent from the right broker to each of them, and back."""
    with attacked(start, broker) as (daemon, events):
        before_mb = read_memory(daemon.pid).rss_mb
        most_mb, changes = before_mb, labels(events, 4)
        right = {"port": broker.port, "transport": "tcp", "protocol": "auto"}
        for behaviour, settings in _MODES.values():
            with serve(behaviour) as server:
                daemon.edit(mqtt=right | {"port": server.port} | settings)
                wait_until(lambda server=server: len(server.peers) > 0, 30)  # type: ignore[misc]
                for _ in range(20):
                    time.sleep(0.1)
                    most_mb = max(most_mb, read_memory(daemon.pid).rss_mb)
                daemon.edit(mqtt=right)
                changes += labels(events, 8)
        changes += labels(events, 8)
    assert_none_lost(changes)
    assert "\x1b" not in daemon.log
    assert most_mb < before_mb + _MOST_GROWTH_MB
    outcome = f"{len(changes)} events, 0 lost; {before_mb:.0f} MB before, {most_mb:.0f} MB at most"
    tally.add("hostile brokers: packets too large, too slow, without end", len(_MODES), outcome)


def test_floods_of_requests_and_births(start: StartDaemon, broker: Mosquitto, tally: Tally) -> None:
    topics = (f"edge_agent/{DEVICE}/request/config/get", "homeassistant/status")
    count = 100
    with attacked(start, broker) as (daemon, events):
        labels(events, 4)
        before_mb = read_memory(daemon.pid).rss_mb
        started_s = time.monotonic()
        with Flood(broker.port, *topics, most_per_s=1000) as flood:
            changes = labels(events, count)
            took_s = time.monotonic() - started_s
            after_mb = read_memory(daemon.pid).rss_mb
    per_s = flood.rounds / took_s
    assert_none_lost(changes)
    assert per_s > 500, "this machine is too busy to be flooded"
    assert after_mb < before_mb + _MOST_GROWTH_MB
    outcome = f"{count} events, 0 lost; flood memory: {before_mb:.0f} MB before, {after_mb:.0f} MB after"
    tally.add(
        f"floods: {per_s:,.0f} requests and as many births of Home Assistant a second, for {took_s:.0f} s",
        2 * flood.rounds,
        outcome,
    )


def ends_by_name(behaviour: Behaviour, chance: random.Random) -> bool:
    """Connect to a server that ends the connection; any error but that of a connection is raised."""
    protocol: MqttVersion = chance.choice(("5", "3.1.1"))
    with serve(behaviour) as server:
        connection = Connection(broker_config(server.port), "test", protocol, environment={})
        with pytest.raises(BrokerConnectionError):
            use(connection, timeout_s=1.0)
        connection.close(goodbye=False)
    return True


def damaged_greeting(chance: random.Random) -> Behaviour:
    def behaviour(peer: Peer) -> None:
        peer.packet()
        peer.send(damaged(chance.choice(list(ACCEPTED.values())), chance))

    return behaviour


def damaged_packets(chance: random.Random) -> Behaviour:
    def behaviour(peer: Peer) -> None:
        peer.accept()
        peer.send(damaged(_PACKETS, chance))

    return behaviour


@pytest.mark.parametrize(
    ("what", "damage"),
    [("greetings", damaged_greeting), ("later packets", damaged_packets)],
    ids=["greetings", "later packets"],
)
def test_damaged_answers(what: str, damage: Callable[[random.Random], Behaviour], tally: Tally) -> None:
    count = 1_000
    ended = sum(ends_by_name(damage(random.Random(n)), random.Random(n)) for n in range(count))
    tally.add(f"{what} of a broker, damaged", count, f"{ended:,} ended as a connection error, by name")

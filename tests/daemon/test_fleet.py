"""The running daemon follows what its broker keeps for its groups."""

from __future__ import annotations

import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.topics import wanted_topic
from edge_agent.mqtt.contract.wanted import Target, Wanted, signed
from edge_agent.tools.demo.subscriber import Subscriber
from edge_agent.tools.fleet.key import public_key
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import receive
from tests.mqtt.brokers import Mosquitto
from tests.mqtt.helpers import publish_once

TOPIC = wanted_topic("edge_agent", "porches")
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
FLEET = {"groups": ["porches"], "public_key": public_key(KEY)}


def message(settings: dict[str, Any]) -> Message:
    wanted = Wanted("porches", int(time.time() * 1000), "calm", Target(settings))
    return Message(TOPIC, signed(wanted, KEY.sign), retain=True)


def test_what_the_broker_kept_before_the_daemon_came_is_followed_and_so_is_what_comes_later(
    start: StartDaemon, broker: Mosquitto, subscriber: Subscriber
) -> None:
    publish_once(broker.port, message({"publish.heartbeat_s": 30}))
    daemon = start(fleet=FLEET)
    first = receive(subscriber, "info", lambda info: info["groups"][0]["settings"] == ["publish.heartbeat_s"])
    assert first["config"]["publish"]["heartbeat_s"] == 30
    publish_once(broker.port, message({"publish.heartbeat_s": 20}))
    receive(subscriber, "info", lambda info: info["config"]["publish"]["heartbeat_s"] == 20)
    publish_once(broker.port, Message(TOPIC, b"{}", retain=True))
    refused = receive(subscriber, "info", lambda info: info["groups"][0]["refused"])
    assert refused["groups"][0]["refused"] == [{"what": "message", "why": "it is not signed"}]
    assert "heartbeat_s: 20" in daemon.config.read_text()

"""The running daemon follows what its broker keeps for its groups."""

from __future__ import annotations

import base64
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.topics import wanted_topic
from edge_agent.mqtt.contract.wanted import Target, Wanted, signed
from edge_agent.tools.demo.subscriber import Subscriber
from edge_agent.tools.fleet.key import public_key
from tests.daemon.conftest import Ask, StartDaemon
from tests.daemon.helpers import receive
from tests.mqtt.brokers import Mosquitto
from tests.mqtt.helpers import publish_once

TOPIC = wanted_topic("edge_agent", "porches")
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
FLEET = {"groups": ["porches"], "public_key": public_key(KEY)}


def message(settings: dict[str, Any], heads: dict[str, str] | None = None) -> Message:
    wanted = Wanted("porches", int(time.time() * 1000), "calm", Target(settings, heads or {}))
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


def test_a_head_that_is_pushed_answers_at_once_and_is_taken_back(
    start: StartDaemon, ask: Ask, broker: Mosquitto, subscriber: Subscriber
) -> None:
    daemon = start(
        fleet=FLEET, control={"enabled": True, "allow_head": True}, stabilizer={"window": 1, "votes": 1}
    )
    receive(subscriber, "state")
    ask("teach/add", transaction=1, label="in")
    receive(subscriber, "state", lambda state: state["label"] == "in")
    head = base64.b64encode((daemon.state_dir / "teach" / "frame" / "head").read_bytes()).decode()
    ask("teach/undo", transaction=2)
    receive(subscriber, "state", lambda state: state["label"] != "in")
    publish_once(broker.port, message({}, {"frame": head}))
    receive(subscriber, "info", lambda info: info["groups"][0]["heads"] == ["frame"])
    receive(subscriber, "state", lambda state: state["label"] == "in")
    publish_once(broker.port, message({}))
    receive(subscriber, "state", lambda state: state["label"] != "in")
    assert ask("teach/head", transaction=3, head=head)["status"] == "ok"
    receive(subscriber, "state", lambda state: state["label"] == "in")
    assert ask("teach/head", transaction=4, head="bm8gaGVhZA==")["status"] == "error"
    assert ask("teach/head", transaction=5, head="")["status"] == "ok"
    receive(subscriber, "state", lambda state: state["label"] != "in")

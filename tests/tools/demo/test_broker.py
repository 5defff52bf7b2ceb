"""The demo's own broker and subscriber."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import BrokerError
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.tools.demo.broker import embedded_broker
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt.brokers import Mosquitto, answers, free_port, wait_until
from tests.mqtt.helpers import publishing
from tests.mqtt.samples import broker_config

_HOST = "127.0.0.1"


def test_what_is_published_reaches_the_subscriber_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with embedded_broker() as port, Subscriber(_HOST, port, "edge_agent/#") as subscriber:
        topics = Topics("edge_agent", "porch")
        with publishing(broker_config(port, protocol="3.1.1")) as publisher:
            publisher.publish(Message(topics.response("pause"), b"x"))
        received = [subscriber.next(5) for _ in range(3)]
    assert [(m.topic, m.payload) for m in received if m] == [
        (topics.availability, b"online"),
        (topics.response("pause"), b"x"),
        (topics.availability, b"offline"),
    ]
    assert not answers(port)
    assert list(tmp_path.iterdir()) == []


def test_the_broker_listens_on_loopback_only() -> None:
    with embedded_broker() as port:
        listening = Path("/proc/net/tcp").read_text()
        assert f" 0100007F:{port:04X} 00000000:0000 0A" in listening
        assert f" 00000000:{port:04X} " not in listening


def test_the_broker_does_not_outlive_a_killed_demo() -> None:
    code = (
        "import time; from edge_agent.tools.demo.broker import embedded_broker\n"
        "with embedded_broker() as port: print(port, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        port = int(demo.stdout.readline())
        assert answers(port)
        os.kill(demo.pid, signal.SIGKILL)
    wait_until(lambda: not answers(port))


def test_without_amqtt_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(BrokerError, match=r"pip install 'edge-agent\[demo\]'"), embedded_broker():
        pass


def test_a_subscriber_without_a_broker_says_so() -> None:
    with pytest.raises(BrokerError, match=r"no broker at 127\.0\.0\.1"), Subscriber(_HOST, free_port(), "#"):
        pass


def test_a_subscriber_that_the_broker_refuses_says_so(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker", "allow_anonymous false\n") as broker,
        pytest.raises(BrokerError, match="does not take a subscriber: Not authorized"),
        Subscriber(_HOST, broker.port, "#"),
    ):
        pass

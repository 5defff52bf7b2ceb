"""`fleet watch` against a real node of NATS: what devices say is on the page, and each event is kept once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.wire.connection import Ack, Connection
from edge_agent.system.clock import SystemClock
from edge_agent.tools.fleet.backbone import MQTT_STREAM, Login, connect
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, free_port, wait_until
from tests.mqtt.samples import broker_config
from tests.tools.fleet.nats import Node

PORT = free_port()


def get(path: str) -> str:
    with urllib.request.urlopen(f"http://{HOST}:{PORT}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def count(name: str) -> float:
    lines = [
        line for line in get("/metrics").splitlines() if line.startswith(f"edge_agent_fleet_{name}_total")
    ]
    return float(lines[0].split()[-1])


def devices() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(get("/api/v1/devices"))["devices"]
    return found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path / "nats", "n1") as running:
        yield running


@pytest.fixture
def watch(node: Node, tmp_path: Path) -> Iterator[None]:
    with watching(node, tmp_path / "watch.log", "following"):
        yield


@contextmanager
def watching(node: Node, log: Path, until: str) -> Iterator[None]:
    """`fleet watch`, once it has said that."""
    command = [sys.executable, "-m", "edge_agent", "fleet", "watch", "--server", node.url]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--replicas", "1", "--listen", f"{HOST}:{PORT}"], stdout=file, stderr=file
        )
    try:
        wait_until(lambda: until in log.read_text(), 60)
        yield
    finally:
        process.kill()
        process.wait()


def test_a_stream_that_nats_made_itself_is_waited_for_to_be_removed(node: Node, tmp_path: Path) -> None:
    say(node, Message("edge_agent/porch/health", encode(samples.health()), retain=True))
    with watching(node, tmp_path / "watch.log", "waiting until you have removed that stream"):
        asyncio.run(remove_stream(node))
        wait_until(lambda: "following" in (tmp_path / "watch.log").read_text(), 60)
        say(node, Message("edge_agent/porch/health", encode(samples.health()), retain=True))
        wait_until(lambda: [each["device"] for each in devices()] == ["porch"], 60)


async def remove_stream(node: Node) -> None:
    client = await connect(Login((node.url,)), "test")
    await client.jetstream().delete_stream(MQTT_STREAM)
    await client.close()


def say(node: Node, *messages: Message) -> None:
    """Publish as a device does, and wait until NATS has all of it."""
    connection = Connection(broker_config(node.mqtt_port), "porch", "3.1.1", environment={})
    connection.open(SystemClock(), answer_timeout_s=20)
    unsent, waiting = list(messages), set[int]()
    while unsent or waiting:
        while unsent and len(waiting) < connection.limits.inflight:
            waiting.add(connection.send(unsent.pop(0)))
        waiting -= {item.mid for item in connection.step(1) if isinstance(item, Ack)}
    connection.close(goodbye=True)


@pytest.mark.usefixtures("watch")
def test_devices_are_shown_events_kept_once_and_noise_passed_over(node: Node) -> None:
    topics = Topics("edge_agent", "porch")
    events = [Message(topics.event, encode(samples.changed(seq))) for seq in (5, 6, 5, 6, 7)]
    say(
        node,
        Message(topics.health, encode(samples.health()), retain=True),
        Message(topics.info, encode(samples.info()), retain=True),
        *events,
        Message(topics.event, b"no event"),
        Message(f"{topics.root}/region/gate/event", encode(samples.changed(8))),
    )
    wait_until(lambda: count("events") + count("repeats") + count("unreadable") == 7, 60)
    assert (count("events"), count("repeats"), count("unreadable")) == (4, 2, 1)
    wait_until(lambda: bool(devices()) and devices()[0]["version"] != "", 60)
    (porch,) = devices()
    assert (porch["device"], porch["there"], porch["memory"], porch["unknown"]) == ("porch", "yes", 88.0, 4.2)
    assert "<td>porch</td>" in get("/?q=porch&sort=-age")
    assert "<td>porch</td>" not in get("/?q=gate")
    assert get("/healthz") == "ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get("/etc/passwd")


@pytest.mark.usefixtures("watch")
def test_of_many_messages_at_once_the_last_one_counts(node: Node) -> None:
    health = samples.health()
    many = [replace(health, memory=replace(health.memory, rss_mb=number)) for number in range(1, 151)]
    say(node, *(Message("edge_agent/porch/health", encode(each), retain=True) for each in many))
    wait_until(lambda: count("messages") == len(many), 60)
    wait_until(lambda: [each["memory"] for each in devices()] == [150.0], 60)

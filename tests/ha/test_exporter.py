"""The real mqtt-exporter with the shipped environment: it has every series that the dashboard asks for."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto, answers, free_port, wait_until
from tests.mqtt.helpers import publish_once
from tests.mqtt.samples import TOPICS
from tests.test_monitoring import asked, environment


@pytest.fixture
def port(root: Path, broker: Mosquitto) -> Iterator[int]:
    """Where the exporter answers."""
    port = free_port()
    own = {"MQTT_ADDRESS": HOST, "MQTT_PORT": str(broker.port), "PROMETHEUS_PORT": str(port)}
    given = [f"{name}={value}" for name, value in (environment() | own).items()]
    command = ["chroot", str(root), "/usr/bin/env", "-i", *given, "/opt/exporter/bin/mqtt-exporter"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(port), 30)
            yield port
        finally:
            process.kill()


def test_every_series_of_the_dashboard_is_there(port: int, broker: Mosquitto) -> None:
    health = Message(TOPICS.health, encode(samples.health()), retain=True)
    publish_once(broker.port, health)
    deadline_s = time.monotonic() + 20
    while True:
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = {line.partition("{")[0] for line in lines if 'topic="edge_agent_porch_health"' in line}
        if asked() <= found:
            return
        assert time.monotonic() < deadline_s, asked() - found
        time.sleep(0.2)

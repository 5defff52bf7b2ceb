"""The real exporters with the shipped files: they have every series that the dashboard asks for."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import encode
from tests.ha.exporters import NAMES, exporter
from tests.mqtt import samples
from tests.mqtt.brokers import HOST, Mosquitto
from tests.mqtt.helpers import publish_once
from tests.mqtt.samples import TOPICS
from tests.test_monitoring import asked


@pytest.fixture(params=NAMES)
def port(request: pytest.FixtureRequest, root: Path, broker: Mosquitto) -> Iterator[int]:
    """Where the exporter answers."""
    with exporter(request.param, root, broker) as port:
        yield port


def series(port: int) -> dict[str, float]:
    """The value of each of the device's series; the timestamp that may follow it left out."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    ours = (line for line in lines if "porch" in line and line.startswith("edge_agent_"))
    return {line.partition("{")[0]: float(line.rpartition("}")[2].split()[0]) for line in ours}


def series_with(port: int, name: str, value: float) -> dict[str, float]:
    deadline_s = time.monotonic() + 20
    while True:
        found = series(port)
        if found.get(name) == value:
            return found
        assert time.monotonic() < deadline_s, found
        time.sleep(0.2)


def test_every_series_of_the_dashboard_is_there(port: int, broker: Mosquitto) -> None:
    publish_once(broker.port, Message(TOPICS.health, encode(samples.health()), retain=True))
    found = series_with(port, "edge_agent_memory_rss_mb", 88.0)
    assert asked() <= found.keys(), asked() - found.keys()
    assert found["edge_agent_mqtt_connected"] == 1  # true


def test_a_null_disturbs_no_other_series(port: int, broker: Mosquitto) -> None:
    health = json.loads(encode(samples.health()))
    health |= {"fps": None, "latency_ms": None, "memory": health["memory"] | {"rss_mb": 99.5}}
    publish_once(broker.port, Message(TOPICS.health, json.dumps(health).encode(), retain=True))
    found = series_with(port, "edge_agent_memory_rss_mb", 99.5)
    assert found["edge_agent_uptime_s"] == pytest.approx(3600, abs=1)

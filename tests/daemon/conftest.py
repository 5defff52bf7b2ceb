"""A daemon, a real broker, and a subscriber that sees what is published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.process import Daemon, merged
from tests.mqtt.brokers import HOST, Mosquitto

DEVICE = "porch"

StartDaemon = Callable[..., Daemon]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    mosquitto = Mosquitto(tmp_path / "broker")
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    """Receives everything that the daemon publishes."""
    with Subscriber(HOST, broker.port, f"edge_agent/{DEVICE}/#") as connected:
        yield connected


@pytest.fixture
def settings(lite0: Artifact, broker: Mosquitto) -> dict[str, Any]:
    """The bundled pictures, over and over, each of them a scene of its own."""
    return {
        "device_id": DEVICE,
        "source": {
            "type": "folder",
            "fps": 0,
            "reopen_min_s": 0.1,
            "folder": {"path": str(PICTURES_DIR), "loop": True},
        },
        "model": {"path": str(lite0.directory)},
        "memory": {"budget_mb": 512},
        "stabilizer": {"window": 1, "votes": 1, "threshold": 0, "hysteresis": 0},
        "publish": {"health_interval_s": 1},
        "mqtt": {"host": HOST, "port": broker.port, "reconnect_min_s": 0.1, "reconnect_max_s": 1},
    }


@pytest.fixture
def start(tmp_path: Path, settings: dict[str, Any]) -> Iterator[StartDaemon]:
    """Starts a daemon with the settings, changed as told; all are killed at the end."""
    daemons: list[Daemon] = []

    def start_daemon(*arguments: str, program: tuple[str, ...] = (), **changes: Any) -> Daemon:
        directory = tmp_path / f"daemon{len(daemons)}"
        daemon = Daemon(directory, merged(settings, changes), *arguments, program=program)
        daemons.append(daemon)
        daemon.start()
        return daemon

    yield start_daemon
    for daemon in daemons:
        daemon.kill()

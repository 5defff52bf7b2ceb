"""A daemon, a real broker, and a subscriber that sees what is published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.model.sidecar import Artifact
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.helpers import DEVICE, receive
from tests.daemon.process import Daemon, merged
from tests.installed import has_native, has_xnnpack
from tests.mqtt.brokers import HOST, Mosquitto

StartDaemon = Callable[..., Daemon]
Ask = Callable[..., Any]


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
    """Starts a daemon with the settings and the changes given; all are killed at the end.

    Skips the test where there are neither native kernels nor libXNNPACK: memory and times are not torch's.
    """
    if not (has_native() or has_xnnpack()):
        pytest.skip("there are no native kernels, and libXNNPACK is not installed")
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


@pytest.fixture
def ask(broker: Mosquitto, subscriber: Subscriber) -> Iterator[Ask]:
    """Sends a request, and returns its response."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(HOST, broker.port)
    client.loop_start()

    def send(verb: str, *, retain: bool = False, await_answer: bool = True, **request: Any) -> Any:
        client.publish(
            f"edge_agent/{DEVICE}/request/{verb}", json.dumps(request), 1, retain
        ).wait_for_publish(5)
        if not await_answer:
            return None
        is_it = lambda answer: answer["transaction"] == request.get("transaction")  # noqa: E731
        return receive(subscriber, f"response/{verb}", is_it)

    yield send
    client.disconnect()
    client.loop_stop()

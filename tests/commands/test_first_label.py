"""`edge-agent first-label`, with which install.sh ends: the next label, received from a real broker."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.commands.first_label import wait_for_label
from edge_agent.config.schema import Config
from edge_agent.errors import BrokerError
from edge_agent.system.clock import SystemClock
from tests.installed import program
from tests.mqtt.brokers import Mosquitto
from tests.mqtt.samples import broker_config

TOPIC = "edge_agent/porch/state"


@pytest.fixture(autouse=True)
def _mosquitto_pub() -> None:
    program("mosquitto_pub")  # before a thread asks for it


def config(broker: Mosquitto) -> Config:
    return replace(Config(), device_id="porch", mqtt=broker_config(broker.port))


def publish(broker: Mosquitto, label: str, *options: str) -> None:
    payload = json.dumps({"label": label, "score": 0.5})
    subprocess.run(
        [
            program("mosquitto_pub"),
            "-h",
            "127.0.0.1",
            "-p",
            str(broker.port),
            "-t",
            TOPIC,
            "-m",
            payload,
            *options,
        ],
        check=True,
    )


class Publishing:
    """Publishes a label again and again, as a running agent does."""

    def __init__(self, broker: Mosquitto, label: str) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(broker, label))

    def _run(self, broker: Mosquitto, label: str) -> None:
        while not self._done.wait(0.1):
            publish(broker, label)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def test_the_next_label_is_returned_with_where_it_came_from(broker: Mosquitto) -> None:
    with Publishing(broker, "tabby"):
        state = wait_for_label(config(broker), SystemClock(), 30)
    assert (state.label, state.score, state.topic) == ("tabby", 0.5, TOPIC)
    assert str(broker.port) in state.broker


def test_a_retained_label_of_an_earlier_run_does_not_count(broker: Mosquitto) -> None:
    publish(broker, "stale", "-r")
    with pytest.raises(BrokerError, match=f"no label arrived on {TOPIC}"):
        wait_for_label(config(broker), SystemClock(), 0.5)


def test_no_broker_is_said_with_its_address(broker: Mosquitto) -> None:
    broker.kill()
    with pytest.raises(BrokerError, match=str(broker.port)):
        wait_for_label(config(broker), SystemClock(), 5)


def test_the_command_prints_the_label(
    broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "edge-agent.yaml"
    file.write_text(f"device_id: porch\nmqtt:\n  host: 127.0.0.1\n  port: {broker.port}\n")
    with Publishing(broker, "tabby"):
        assert main(["first-label", "--config", str(file), "--timeout", "30"]) == 0
    assert capsys.readouterr().out == f"tabby (0.50) on {TOPIC} at 127.0.0.1:{broker.port}\n"


def test_the_command_says_why_there_is_no_label(
    broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "edge-agent.yaml"
    file.write_text(f"device_id: porch\nmqtt:\n  host: 127.0.0.1\n  port: {broker.port}\n")
    assert main(["first-label", "--config", str(file), "--timeout", "0.2"]) == 1
    assert "no label arrived" in capsys.readouterr().err

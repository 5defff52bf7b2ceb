"""`edge-agent ha remove`, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.config.schema import HomeAssistantConfig
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from edge_agent.mqtt.contract.homeassistant import Discovery
from edge_agent.mqtt.wire.publish_once import publish_once
from edge_agent.system.clock import SystemClock
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt.brokers import HOST, Mosquitto, free_port
from tests.mqtt.samples import TOPICS, broker_config


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    yield broker
    broker.kill()


def config_file(directory: Path, port: int, enabled: str = "false") -> str:
    file = directory / "edge-agent.yaml"
    file.write_text(
        "device_id: porch\n"
        f"source: {{type: folder, folder: {{path: {directory}}}}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {port}}}\n"
        f"homeassistant: {{enabled: {enabled}}}\n"
    )
    return str(file)


def test_the_device_is_gone_from_the_broker(
    broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    discovery = Discovery(HomeAssistantConfig(), TOPICS, control=True, image=True)
    publish_once(broker_config(broker.port), "porch", discovery.message(), SystemClock(), environment={})
    with Subscriber(HOST, broker.port, discovery.topic) as subscriber:
        before = subscriber.next(5)
        assert main(["ha", "remove", "--config", config_file(tmp_path, broker.port)]) == EXIT_OK
        removal = subscriber.next(5)
    assert before is not None
    assert removal is not None
    assert (removal.payload, removal.retained) == (b"", False)
    with Subscriber(HOST, broker.port, "#") as late:
        assert late.next(0.3) is None
    printed = capsys.readouterr().out
    assert f"removed {discovery.topic} from the broker at 127.0.0.1:{broker.port}" in printed
    assert "homeassistant.enabled" not in printed


def test_it_warns_that_an_enabled_agent_comes_back(
    broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ha", "remove", "--config", config_file(tmp_path, broker.port, "true")]) == EXIT_OK
    assert "set homeassistant.enabled to false" in capsys.readouterr().out


def test_without_a_broker_it_says_which_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert main(["ha", "remove", "--config", config_file(tmp_path, port)]) == EXIT_FAILURE
    assert f"nothing listens on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_broken_configuration_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("mqtt: {port: many}\n")
    assert main(["ha", "remove", "--config", str(file)]) == EXIT_USAGE

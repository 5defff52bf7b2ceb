"""`edge-agent ha remove`, on a real broker."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.config.schema import HomeAssistantConfig
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from edge_agent.mqtt.contract.homeassistant import Discovery
from edge_agent.mqtt.contract.message import Message
from edge_agent.tools.demo.subscriber import Subscriber
from tests.mqtt.brokers import HOST, Mosquitto, free_port, wait_until
from tests.mqtt.helpers import publish_once
from tests.mqtt.samples import TOPICS


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
    publish_once(broker.port, discovery.message())
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


def keep(broker: Mosquitto, *topics: str) -> None:
    """Leave a retained message on each topic."""
    for topic in topics:
        message = Message(topic, b"old", retain=True)
        publish_once(broker.port, message)


def kept(broker: Mosquitto) -> set[str]:
    """The topics of which the broker keeps a message."""
    with Subscriber(HOST, broker.port, "#") as late:
        topics = set()
        while (message := late.next(0.5)) is not None:
            topics.add(message.topic)
        return topics


def test_every_retained_topic_of_an_old_device_goes_and_no_other(broker: Mosquitto, tmp_path: Path) -> None:
    below = [f"edge_agent/garden/{name}" for name in ("state", "health", "info", "availability", "of/old")]
    below += ["edge_agent/garden/event_image", "edge_agent/garden/event_image/info"]
    others = ["edge_agent/porch/state", "edge_agent/garden-2/state", "homeassistant/device/porch/config"]
    keep(broker, "homeassistant/device/garden/config", *below, *others)
    command = ["ha", "remove", "--config", config_file(tmp_path, broker.port), "--device-id", "garden"]
    assert main(command) == EXIT_OK
    assert kept(broker) == set(others)


def test_where_it_may_not_read_the_known_topics_go_all_the_same(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write #\n")
    acl.chmod(0o600)
    lines = f"acl_file {acl}\npersistence true\npersistence_location {tmp_path}/\n"
    with Mosquitto(tmp_path / "strict", lines) as broker:
        keep(broker, "edge_agent/porch/state", "edge_agent/porch/event_image", "edge_agent/porch/else")
        assert main(["ha", "remove", "--config", config_file(tmp_path, broker.port)]) == EXIT_OK
        acl.write_text("topic readwrite #\n")
        broker.send(signal.SIGHUP)
        wait_until(lambda: kept(broker) == {"edge_agent/porch/else"})


@pytest.mark.parametrize("name", ["", "a/b", "#", "+", "a b"])
def test_a_device_id_that_is_none_is_refused(
    broker: Mosquitto, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ha", "remove", "--config", config_file(tmp_path, broker.port), "--device-id", name]
    assert main(command) == EXIT_USAGE
    assert "may stand in a topic" in capsys.readouterr().err

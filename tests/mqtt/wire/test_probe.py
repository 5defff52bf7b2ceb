"""The doctor's look at the broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_agent.mqtt.wire.probe import BrokerProbe, probe
from edge_agent.mqtt.wire.status import Trouble
from edge_agent.system.clock import SystemClock
from edge_agent.system.secret import Secret
from edge_agent.tools.demo.broker import embedded_broker
from tests.mqtt.brokers import Mosquitto, free_port
from tests.mqtt.helpers import passwords, publishing
from tests.mqtt.samples import broker_config


def look(port: int, **changes: object) -> BrokerProbe:
    (found,) = probe(broker_config(port, **changes), "porch", SystemClock(), environment={})
    return found


def test_a_broker_that_accepts_the_agent(broker: Mosquitto) -> None:
    found = look(broker.port)
    assert (found.trouble, found.protocol, found.remedy) == (None, "5", "")
    assert found.detail == f"connected to 127.0.0.1:{broker.port} with MQTT 5"


def test_an_old_broker_is_asked_in_its_own_version() -> None:
    with embedded_broker() as port:
        assert look(port).protocol == "3.1.1"


def test_a_broker_that_is_away_is_distinguished_from_one_that_refuses(
    make_broker: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    away = look(free_port())
    strict = make_broker(f"allow_anonymous false\npassword_file {passwords(tmp_path)}\n")
    refused = look(strict.port, username="agent", password=Secret("wrong"))
    assert (away.trouble, refused.trouble) == (Trouble.REFUSED, Trouble.CREDENTIALS)
    assert "mqtt.port" in away.remedy
    assert "mqtt.password_file" in refused.remedy


def test_looking_does_not_disturb_a_running_agent(broker: Mosquitto) -> None:
    with publishing(broker_config(broker.port)) as publisher:
        assert look(broker.port).trouble is None
        assert publisher.status.reconnects == 0
        assert publisher.status.connected

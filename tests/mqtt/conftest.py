"""Real brokers for the publisher's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mqtt.brokers import Mosquitto


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start mosquittos with further configuration lines; all end with the test."""
    brokers: list[Mosquitto] = []

    def make(config: str = "", port: int = 0) -> Mosquitto:
        broker = Mosquitto(tmp_path / f"broker{len(brokers)}", config, port)
        brokers.append(broker)
        broker.start()
        return broker

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture
def broker(make_broker: Callable[..., Mosquitto]) -> Mosquitto:
    """A mosquitto that lets everyone in."""
    return make_broker()

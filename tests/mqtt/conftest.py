"""Real brokers for the publisher's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.mqtt.brokers import Mosquitto


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start mosquittos with further configuration lines; all end with the test."""
    numbers = count()
    with ExitStack() as running:
        yield lambda config="", port=0: running.enter_context(
            Mosquitto(tmp_path / f"broker{next(numbers)}", config, port)
        )

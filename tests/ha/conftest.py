"""Programs of others, in the root that `tests/ha/run` names; without it the tests are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ha.home_assistant import HomeAssistant
from tests.mqtt.brokers import Mosquitto

_HERE = Path(__file__).resolve().parent
EXAMPLES = _HERE.parents[1] / "docs" / "examples"
RELEASES = ("2025.4.4", "2026.2.3")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "EDGE_AGENT_HA_ROOT" not in os.environ:
        for item in items:
            if _HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs other programs: run tests/ha/run"))


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(os.environ["EDGE_AGENT_HA_ROOT"])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker"), "max_queued_messages 0\n") as running:
        yield running


@pytest.fixture(scope="module", params=RELEASES)
def home_assistant(request: pytest.FixtureRequest, root: Path, broker: Mosquitto) -> Iterator[HomeAssistant]:
    """One that runs, with the shipped automations."""
    automations = EXAMPLES / "home-assistant-automation.yaml"
    release = request.param
    running = HomeAssistant(root, release, f"/tmp/edge-agent-{release}", broker.port, automations)
    try:
        running.start()
        yield running
    finally:
        running.stop()

"""What the agent does when it is asked over MQTT."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.config.problem import InvalidConfigError
from edge_agent.daemon.remote import RemoteCommands
from edge_agent.errors import SourceError
from tests.daemon.assembled import Assembled


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Assembled]:
    made = Assembled(tmp_path, {"source": {"type": "picamera2", "fps": 2}})
    yield made
    made.close()


@pytest.fixture
def commands(agent: Assembled) -> RemoteCommands:
    return RemoteCommands(agent.live, agent.loop, agent.capture, agent.reloader, agent.report.health_due)


def test_a_snapshot_is_the_newest_frame(agent: Assembled, commands: RemoteCommands) -> None:
    with pytest.raises(SourceError, match="no frame has been classified yet"):
        commands.snapshot()
    agent.classify()
    with Image.open(io.BytesIO(commands.snapshot())) as picture:
        assert (picture.format, picture.size) == ("JPEG", (8, 6))


def test_health_follows_a_pause_and_its_end_at_once(agent: Assembled, commands: RemoteCommands) -> None:
    agent.rounds(2)
    assert len(agent.link.healths) == 1
    commands.pause()
    agent.rounds(2)
    assert len(agent.link.healths) == 2
    commands.resume()
    agent.rounds(2)
    assert len(agent.link.healths) == 3


def test_the_configuration_is_the_one_in_force(agent: Assembled, commands: RemoteCommands) -> None:
    agent.edit({"stabilizer": {"vote": 2}})
    with pytest.raises(InvalidConfigError):
        commands.reload()
    assert commands.config() == agent.config

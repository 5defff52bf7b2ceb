"""What the agent does when it is asked over MQTT."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_agent.config.loader import load
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.schema import Config
from edge_agent.daemon.remote import RemoteCommands
from edge_agent.errors import EXIT_RESTART, ConfigError, SourceError
from edge_agent.mqtt.requests import HeadRequest, Reloaded
from tests.daemon.assembled import Assembled


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Assembled]:
    made = Assembled(tmp_path, {"source": {"type": "picamera2", "fps": 2}})
    yield made
    made.close()


@pytest.fixture
def commands(agent: Assembled) -> RemoteCommands:
    return RemoteCommands(
        agent.live,
        agent.loop,
        agent.capture,
        agent.watcher,
        agent.reloader,
        agent.restart,
        agent.report.health_due,
        agent.teaching,
        agent.models,
    )


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


def test_a_number_is_changed_until_the_file_is_read_again(agent: Assembled, commands: RemoteCommands) -> None:
    assert commands.override({"stabilizer.threshold": 0.6}).changed == ("stabilizer.threshold",)
    assert commands.config().stabilizer.threshold == 0.6
    assert agent.link.infos[-1].config.stabilizer.threshold == 0.6
    assert commands.override({"source.fps": 5}).changed == ("source.fps",)
    assert agent.paces[-1].fps == 5
    assert set(commands.reload().changed) == {"stabilizer.threshold", "source.fps"}
    assert agent.paces[-1].fps == 2


def test_a_number_out_of_its_range_changes_nothing(agent: Assembled, commands: RemoteCommands) -> None:
    with pytest.raises(ConfigError, match="must be 0 to 120"):
        commands.override({"source.fps": 1000})
    assert commands.config() == agent.config


def test_a_restart_on_request_ends_with_its_exit_code(agent: Assembled, commands: RemoteCommands) -> None:
    commands.restart()
    assert agent.supervisor.round() == EXIT_RESTART


def test_a_patch_is_written_into_the_file_and_in_force_at_once(
    agent: Assembled, commands: RemoteCommands
) -> None:
    allow_patch(agent)
    changed = commands.patch({"stabilizer.threshold": 0.5, "labels.allow": ["cat"]})
    assert changed == Reloaded(("labels.allow", "stabilizer.threshold"), restarts=False)
    assert load(agent.file) == agent.live.config
    assert (agent.live.config.stabilizer.threshold, agent.live.config.labels.allow) == (0.5, ("cat",))
    assert agent.link.infos[-1].config == agent.live.config


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stabilizer.threshold": 7},
        {"stabilizer.window": 1},  # fewer than stabilizer.votes
        {"labels.allow": ["zebra"]},  # no label of the model
        {"mqtt.host": "elsewhere"},
        {"model.path": "/tmp"},
        {"control.max_per_minute": 6000},
        {"web.allow_edit": True},
        {"stabilizer.threshold": 0.5, "no.such": 1},
    ],
)
def test_a_patch_that_cannot_be_taken_whole_leaves_file_and_settings(
    agent: Assembled, commands: RemoteCommands, settings: dict[str, Any]
) -> None:
    allow_patch(agent)
    before, text = agent.live.config, agent.file.read_text()
    with pytest.raises(ConfigError):
        commands.patch(settings)
    assert agent.live.config == before
    assert agent.file.read_text() == text


def test_without_the_owner_s_word_no_head_is_taken(commands: RemoteCommands) -> None:
    with pytest.raises(ConfigError, match=r"control\.allow_head is false"):
        commands.take_head(HeadRequest())


def test_without_the_owner_s_word_no_patch_is_taken(commands: RemoteCommands) -> None:
    with pytest.raises(ConfigError, match=r"control\.allow_patch is false"):
        commands.patch({"stabilizer.threshold": 0.5})


def test_a_patch_that_fails_while_it_is_applied_is_taken_out_of_the_file_again(
    agent: Assembled, commands: RemoteCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_patch(agent)
    before, text = agent.live.config, agent.file.read_text()

    def fail(config: Config) -> None:
        if config.stabilizer.threshold == 0.5:
            raise RuntimeError("a defect")

    monkeypatch.setattr(agent.link, "adopt", fail)
    with pytest.raises(InvalidConfigError):
        commands.patch({"stabilizer.threshold": 0.5})
    assert agent.live.config == before
    assert agent.file.read_text() == text
    assert agent.live.error is None


def allow_patch(agent: Assembled) -> None:
    agent.edit({"control": {"allow_patch": True}})
    agent.reloader.reload()

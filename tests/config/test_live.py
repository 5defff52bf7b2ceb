"""An edit of the running agent's file: it takes effect as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.config.changes import Changes
from edge_agent.config.live import Accepted, LiveConfig, Refused
from edge_agent.config.loader import load
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.errors import ArtifactError

Write = Callable[[str], Path]


@pytest.fixture
def live(write: Write) -> LiveConfig:
    path = write("device_id: pi\nlog:\n  level: info\n")
    return LiveConfig(path, load(path))


def test_a_good_edit_becomes_the_configuration_and_says_what_changed(live: LiveConfig, write: Write) -> None:
    write("device_id: pi\nlog:\n  level: debug\n")
    result = live.reload()
    assert isinstance(result, Accepted)
    assert result.changes.describe() == "log.level"
    assert result.changes.kinds == {Apply.LIVE}
    assert live.config is result.config
    assert live.config.log.level == "debug"
    assert live.error is None


def test_a_wrong_edit_is_refused_whole_with_its_line(live: LiveConfig, write: Write) -> None:
    before = live.config
    path = write("device_id: other\nlog:\n  level: loud\n")
    result = live.reload()
    assert isinstance(result, Refused)
    assert live.config is before
    assert live.error is result.error
    assert result.error.summary.startswith(f"{path}:3: log.level: must be one of")


def test_the_error_is_over_when_the_file_is_mended(live: LiveConfig, write: Write) -> None:
    write("log: [")
    live.reload()
    write("device_id: pi\nlog:\n  level: info\n")
    result = live.reload()
    assert isinstance(result, Accepted)
    assert not result.changes
    assert live.error is None


def test_changes_are_counted_from_the_last_good_configuration(live: LiveConfig, write: Write) -> None:
    write("device_id: pi\nlog: {level: debug}")
    live.reload()
    write("device_id: pi\nlog: {level: oops}")
    live.reload()
    write("device_id: pi\nlog: {level: error}")
    result = live.reload()
    assert isinstance(result, Accepted)
    assert [(change.old, change.new) for change in result.changes] == [("debug", "error")]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_file_that_is_gone_or_emptied_leaves_the_agent_as_it_is(
    live: LiveConfig, write: Write, spoil: Callable[[Path], object]
) -> None:
    spoil(write("device_id: pi"))
    assert isinstance(live.reload(), Refused)
    assert live.config.device_id == "pi"


def test_a_valid_edit_that_the_agent_could_not_run_with_is_refused(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write("device_id: pi\nmodel: {path: /srv/a}")

    def veto(config: Config, changes: Changes) -> None:
        if changes.touches("model.path"):
            raise ArtifactError(f"{config.model.path}: no model there")

    live = LiveConfig(path, load(path), veto)
    write("device_id: pi\nmodel: {path: /srv/b}")
    result = live.reload()
    assert isinstance(result, Refused)
    assert result.error.summary == (
        f"{path}: model.path: the agent could not run with that (its log says why)"
    )
    assert "could not run with the edited configuration: /srv/***: no model there" in caplog.text
    assert live.config.model.path == Path("/srv/a")

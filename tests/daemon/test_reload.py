"""An edit of the configuration: it takes what it needs, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config.problem import InvalidConfigError
from edge_agent.daemon.restart import take_reason
from edge_agent.memory.budget import DegradeStep
from tests.daemon.assembled import Assembled


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Assembled]:
    camera = {"type": "picamera2", "fps": 2, "picamera2": {"width": 1280, "height": 960}}
    made = Assembled(tmp_path, {"source": camera, "memory": {"budget_mb": 100, "check_interval_s": 5}})
    made.classify()
    made.supervisor.round()
    made.heard()
    yield made
    made.close()


def test_a_live_change_reaches_every_part_and_reopens_nothing(agent: Assembled) -> None:
    agent.edit(
        {
            "memory": {"budget_mb": 200, "check_interval_s": 7},
            "publish": {"health_interval_s": 9},
            "stabilizer": {"threshold": 1.0},
        }
    )
    changed = agent.reloader.reload()
    assert set(changed.changed) == {
        "memory.budget_mb",
        "memory.check_interval_s",
        "publish.health_interval_s",
        "stabilizer.threshold",
    }
    assert not changed.restarts
    assert agent.guard.monitor.policy.budget_mb == 200
    assert (agent.memory_due.interval_s, agent.report.health_due.interval_s) == (7, 9)
    assert agent.link.followed == [agent.live.config]
    assert (agent.link.connected_to, len(agent.cameras.made)) == ([], 1)
    agent.do_actions()
    agent.classify(5)
    assert agent.loop.shown.startswith("unknown")


def test_the_manager_hears_of_the_reload_and_info_shows_it(agent: Assembled) -> None:
    agent.edit({"publish": {"health_interval_s": 9}})
    agent.reloader.reload()
    begun, done = agent.heard()
    assert "RELOADING=1" in begun
    assert "READY=1" in done
    assert agent.link.infos[-1].config.publish.health_interval_s == 9


def test_nothing_changed_is_nothing_done(agent: Assembled) -> None:
    assert agent.reloader.reload().changed == ()
    assert (agent.link.followed, agent.paces) == ([], [])


def test_a_change_of_the_camera_opens_another(agent: Assembled) -> None:
    agent.edit({"source": {"picamera2": {"width": 800, "height": 600}}})
    agent.reloader.reload()
    assert agent.cameras.made[-1].picamera2.width == 800
    assert agent.link.connected_to == []


def test_a_change_of_the_rate_does_not(agent: Assembled) -> None:
    agent.edit({"source": {"reopen_max_s": 30}})
    agent.reloader.reload()
    assert [pace.reopen_max_s for pace in agent.paces] == [30]


def test_a_change_of_the_broker_connects_to_another(agent: Assembled) -> None:
    agent.edit({"mqtt": {"host": "elsewhere"}})
    agent.reloader.reload()
    assert [config.mqtt.host for config in agent.link.connected_to] == ["elsewhere"]
    assert len(agent.cameras.made) == 1


def test_other_labels_are_published_from_the_next_frame_on(agent: Assembled) -> None:
    agent.edit({"labels": {"map": {"cat": "animal", "dog": "animal"}}})
    agent.reloader.reload()
    agent.do_actions()
    agent.classify(5)
    assert agent.loop.shown.startswith("animal")


def test_what_was_given_up_is_not_brought_back(agent: Assembled) -> None:
    agent.clock.advance(100)
    agent.rss_mb = 130
    agent.rounds(60)
    assert DegradeStep.SMALL_FRAME in agent.guard.monitor.steps_taken
    agent.edit({"source": {"picamera2": {"hflip": True, "width": 1280, "height": 960}}})
    agent.reloader.reload()
    camera = agent.cameras.made[-1].picamera2
    assert (camera.hflip, camera.width, camera.height) == (True, 320, 240)


def test_a_refused_edit_changes_nothing_and_is_shown(agent: Assembled) -> None:
    before = agent.live.config
    agent.edit({"stabilizer": {"vote": 2}})
    with pytest.raises(InvalidConfigError, match="did you mean 'votes'"):
        agent.reloader.reload()
    assert agent.live.config == before
    assert agent.link.followed == []
    assert "stabilizer.vote" in agent.link.infos[-1].config_error
    assert "configuration refused: " in agent.heard()[-1]


def test_a_saved_edit_that_is_refused_is_logged(agent: Assembled, caplog: pytest.LogCaptureFixture) -> None:
    agent.edit({"stabilizer": {"vote": 2}})
    agent.reloader.reload_saved()
    assert "the edited configuration is refused, the last good one stays in force" in caplog.text


def test_a_change_that_needs_a_restart_is_left_to_the_next_process(agent: Assembled) -> None:
    agent.edit({"model": {"precision": "fp16"}, "publish": {"health_interval_s": 9}})
    assert agent.reloader.reload().restarts
    assert agent.restart.is_wanted
    assert agent.link.followed == []
    assert take_reason(agent.state_dir) == "the configuration changed: model.precision"


def test_each_configuration_that_works_is_kept(agent: Assembled) -> None:
    agent.edit({"publish": {"health_interval_s": 9}})
    assert agent.last_good.read_text() != agent.file.read_text()
    agent.reloader.reload()
    assert agent.last_good.read_text() == agent.file.read_text()


def test_a_configuration_with_which_nothing_was_classified_is_not_kept(tmp_path: Path) -> None:
    agent = Assembled(tmp_path, {"source": {"type": "picamera2"}})
    try:
        agent.edit({"publish": {"health_interval_s": 9}})
        agent.reloader.reload()
        assert not agent.last_good.exists()
        assert agent.heard() == []
    finally:
        agent.close()

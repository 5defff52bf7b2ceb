"""The main loop's rounds, in a time of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.schema import FileConfig, FolderConfig, SourceConfig
from edge_agent.daemon.restart import take_reason
from edge_agent.daemon.supervisor import broker_wait_s
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EXIT_RESTART
from edge_agent.memory.budget import DegradeStep
from edge_agent.mqtt.wire.status import BrokerStatus
from edge_agent.sources import LastingError
from tests.daemon.assembled import Assembled

SETTINGS: dict[str, Any] = {
    "source": {"type": "picamera2", "fps": 2},
    "memory": {"budget_mb": 100, "check_interval_s": 5},
    "publish": {"health_interval_s": 60},
}

Assemble = Callable[..., Assembled]


@pytest.fixture
def assemble(tmp_path: Path) -> Iterator[Assemble]:
    made: list[Assembled] = []

    def make(**options: Any) -> Assembled:
        made.append(Assembled(tmp_path, SETTINGS, **options))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


@pytest.fixture
def agent(assemble: Assemble) -> Assembled:
    return assemble()


def test_the_threads_start_once_the_broker_is_there(agent: Assembled) -> None:
    agent.link.broker = BrokerStatus()
    agent.rounds(3)
    assert agent.threads.started == 0
    agent.link.broker = BrokerStatus(connected=True)
    agent.rounds(3)
    assert agent.threads.started == 1


def test_without_a_broker_they_start_after_a_while(agent: Assembled) -> None:
    agent.link.broker = BrokerStatus()
    agent.rounds(4)
    assert agent.threads.started == 0
    agent.rounds(10)
    assert agent.threads.started == 1


@pytest.mark.parametrize(
    ("source", "seconds"),
    [
        (SourceConfig(type="picamera2"), 5),
        (SourceConfig(type="folder", folder=FolderConfig(loop=True)), 5),
        (SourceConfig(type="folder", folder=FolderConfig(loop=False)), 30),
        (SourceConfig(type="file", file=FileConfig(loop=False)), 30),
    ],
)
def test_the_broker_is_waited_for_longer_where_answers_would_be_lost(
    source: SourceConfig, seconds: float
) -> None:
    assert broker_wait_s(source) == seconds


@pytest.mark.parametrize("code", [EXIT_OK, EXIT_FAILURE])
def test_it_ends_with_the_threads(agent: Assembled, code: int) -> None:
    assert agent.rounds(3) is None
    agent.threads.code = code
    assert agent.rounds(3) == code


def test_a_signal_ends_it_before_anything_else_is_done(agent: Assembled) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    assert agent.rounds(1) == EXIT_OK
    assert (agent.threads.started, agent.link.rounds) == (0, 0)


def test_each_round_carries_out_requests(agent: Assembled) -> None:
    agent.rounds(7)
    assert agent.link.rounds == 7


def test_the_first_frame_makes_it_ready_and_the_configuration_good(agent: Assembled) -> None:
    agent.rounds(2)
    assert not agent.last_good.exists()
    assert not any("READY=1" in message for message in agent.heard())
    agent.classify()
    agent.rounds(1)
    (ready,) = [message for message in agent.heard() if "READY=1" in message]
    assert "RSS 50 of 100 MB, broker connected, camera starting" in ready
    assert agent.last_good.read_text() == agent.file.read_text()
    agent.classify(3)
    agent.rounds(3)
    assert not any("READY=1" in message for message in agent.heard())


def test_memory_is_trimmed_once_after_the_start(agent: Assembled, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "edge_agent"):
        agent.classify(9)
        agent.rounds(1)
        assert "memory trimmed" not in caplog.text
        agent.classify(1)
        agent.rounds(5, do=agent.classify)
    assert caplog.text.count("memory trimmed") == 1


def test_health_is_published_when_due_and_when_something_happens(agent: Assembled) -> None:
    agent.rounds(1)
    assert len(agent.link.healths) == 1
    agent.rounds(58)
    assert len(agent.link.healths) == 1
    agent.rounds(2)
    assert len(agent.link.healths) == 2
    agent.classify()
    agent.rounds(1)
    assert len(agent.link.healths) == 3
    assert agent.link.healths[-1].fps is None  # it takes ten seconds to measure
    agent.classify()
    agent.rounds(60)
    assert len(agent.link.healths) == 4
    assert (agent.link.healths[-1].fps or 0) > 0


def test_memory_beyond_the_budget_is_acted_upon_and_ends_in_a_restart(agent: Assembled) -> None:
    agent.rounds(120)
    agent.rss_mb = 130
    assert agent.rounds(600) == EXIT_RESTART
    assert agent.cameras.made[-1].picamera2.width == 320
    assert "resident memory 130 MB is above the budget of 100 MB" in take_reason(agent.state_dir)


IN_VAIN = "resident memory 187 MB is above the budget of 100 MB after trimming"


def test_where_a_restart_did_not_help_the_camera_is_closed_instead(assemble: Assemble) -> None:
    agent = assemble(restart_reason=IN_VAIN)
    failed: list[str] = []

    def run_camera() -> None:
        agent.capture._take_commands()
        if (status := agent.capture.status).state == "reopening":
            failed.append(status.last_error)
            agent.rss_mb = 60

    agent.rounds(70)
    agent.rss_mb = 187
    assert agent.rounds(500, do=run_camera) is None
    assert "resident memory 187 MB is above the budget" in failed[0]
    assert "a restart did not help: the camera is closed for ten minutes" in failed[0]
    assert agent.link.healths[-1].camera.state == "reopening"
    assert agent.link.healths[-1].camera.last_error == failed[0]


def test_the_camera_is_closed_once_more_when_it_takes_as_much_again(assemble: Assemble) -> None:
    agent = assemble(restart_reason=IN_VAIN)
    closed: list[LastingError] = []

    def close(error: LastingError) -> None:
        closed.append(error)
        agent.rss_mb = 60

    agent.capture.close_for_a_while = close  # type: ignore[method-assign]
    for number in range(1, 4):
        agent.rounds(700)
        agent.rss_mb = 187
        assert agent.rounds(300) is None
        assert len(closed) == number


def test_where_closing_the_camera_does_not_help_either_it_restarts(assemble: Assemble) -> None:
    agent = assemble(restart_reason=IN_VAIN)
    agent.rounds(70)
    agent.rss_mb = 187
    assert agent.rounds(300) == EXIT_RESTART


def test_memory_that_grew_over_time_is_cured_by_a_restart_each_time(assemble: Assemble) -> None:
    agent = assemble(restart_reason=IN_VAIN)
    agent.rounds(2000)
    agent.rss_mb = 130
    assert agent.rounds(300) == EXIT_RESTART


def test_a_saved_configuration_is_taken_over_after_it_has_settled(agent: Assembled) -> None:
    agent.rounds(1)
    agent.edit({"memory": {"budget_mb": 200}})
    agent.rounds(0.2, step_s=0.2)
    assert agent.live.config.memory.budget_mb == 100
    agent.rounds(0.6, step_s=0.2)
    assert agent.live.config.memory.budget_mb == 200


def test_a_stream_that_may_have_grown_is_opened_again_before_anything_is_given_up(tmp_path: Path) -> None:
    stream = {"type": "rtsp", "rtsp": {"url": "rtsp://camera/"}}
    agent = Assembled(tmp_path, {"source": stream, "memory": {"budget_mb": 100, "check_interval_s": 1}})
    agent.clock.advance(100)
    agent.rss_mb = 130
    agent.rounds(3)
    assert agent.guard.monitor.steps_taken == (DegradeStep.REOPEN_STREAM,)
    assert agent.cameras.made == [agent.config.source] * 2
    agent.rss_mb = 80
    assert agent.rounds(60) is None
    agent.close()


def test_what_the_broker_lacks_is_in_info_with_what_is_lost_by_it_once_for_each_broker(
    agent: Assembled,
) -> None:
    lesser = BrokerStatus(connected=True, protocol="5", lacks=("retained messages", "QoS 1"))
    agent.rounds(1)
    assert agent.link.infos == []
    for broker in (lesser, BrokerStatus(), lesser):
        agent.link.broker = broker
        agent.rounds(1)
    (info,) = agent.link.infos
    assert [loss.lacks for loss in info.broker_lacks] == ["retained messages", "QoS 1"]
    assert "an event that is on its way" in info.broker_lacks[1].lost
    agent.link.broker = BrokerStatus(connected=True, protocol="5")
    agent.rounds(1)
    assert agent.link.infos[-1].broker_lacks == ()


def test_a_signal_has_the_configuration_read_again_at_once(agent: Assembled) -> None:
    agent.edit({"memory": {"budget_mb": 200}})
    os.kill(os.getpid(), signal.SIGHUP)
    agent.rounds(0.1, step_s=0.1)
    assert agent.live.config.memory.budget_mb == 200
    assert len(agent.link.infos) == 1


def test_a_change_that_needs_a_restart_ends_it(agent: Assembled) -> None:
    agent.edit({"device_id": "garage", "model": {"precision": "fp16"}})
    assert agent.rounds(3) == EXIT_RESTART
    assert "the configuration changed: " in take_reason(agent.state_dir)


def test_the_watchdog_is_fed_by_frames_and_not_by_time(assemble: Assemble) -> None:
    agent = assemble(watchdog_s=20)
    agent.rounds(60, do=agent.classify)
    fed = [message for message in agent.heard() if "WATCHDOG=1" in message]
    assert len(fed) == 12  # at half the interval, in twice 60 seconds
    agent.gate.captured()  # which the classifier never finishes
    agent.rounds(12)
    agent.heard()
    agent.rounds(60)
    assert not any("WATCHDOG=1" in message for message in agent.heard())


def test_a_camera_that_is_missing_at_boot_is_waited_for(agent: Assembled) -> None:
    agent.rounds(20, do=agent.gate.idle)
    extended = [message for message in agent.heard() if "EXTEND_TIMEOUT_USEC=60000000" in message]
    assert len(extended) == 4


def test_a_rung_bell_wakes_it_at_once(agent: Assembled) -> None:
    def ring() -> None:
        agent.threads.code = EXIT_OK
        agent.wake.ring()

    # Nothing is due in this clock's time, so only the bell can end the wait before a second has passed.
    timer = threading.Timer(0.05, ring)
    agent.supervisor.round()
    timer.start()
    started_s = time.monotonic()
    assert agent.supervisor.run() == EXIT_OK
    assert time.monotonic() - started_s < 0.9

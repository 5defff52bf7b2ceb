"""A thread that remembers how it ended."""

from __future__ import annotations

import sys
import threading

import pytest

from edge_agent.daemon.worker import Worker
from edge_agent.errors import EngineError


def test_it_rings_when_it_has_ended() -> None:
    rung = threading.Event()
    worker = Worker("test", lambda: None, rung.set)
    worker.start()
    assert rung.wait(5)
    assert worker.join(5)
    assert worker.ended
    assert worker.error is None


def test_it_remembers_what_ended_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise EngineError("node 3 (convolution): out of memory")

    worker = Worker("inference", fail, lambda: None)
    worker.start()
    assert worker.join(5)
    assert isinstance(worker.error, EngineError)
    assert "node 3 (convolution): out of memory" in caplog.text
    assert "Traceback" not in caplog.text


def test_an_unexpected_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise KeyError("surprise")

    worker = Worker("inference", fail, lambda: None)
    worker.start()
    assert worker.join(5)
    assert isinstance(worker.error, KeyError)
    assert "the thread inference" in caplog.text
    assert "Traceback" in caplog.text


def test_a_library_that_wants_to_end_the_process_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker("capture", sys.exit, lambda: None)
    worker.start()
    assert worker.join(5)
    assert isinstance(worker.error, SystemExit)
    assert "the thread capture" in caplog.text


def test_one_that_hangs_does_not_hold_up_the_end() -> None:
    release = threading.Event()

    def hang() -> None:
        release.wait(30)

    worker = Worker("hung", hang, lambda: None)
    worker.start()
    assert not worker.join(0.01)
    assert not worker.ended
    release.set()
    assert worker.join(5)


def test_one_that_never_started_can_be_joined() -> None:
    worker = Worker("idle", lambda: None, lambda: None)
    assert worker.join(0.0)
    assert not worker.ended

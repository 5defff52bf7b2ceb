"""Work that another thread has done by the main thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge_agent.daemon.errands import ErrandError, Errands
from edge_agent.errors import TeachError


def fail() -> None:
    raise TeachError("no such label")


def test_the_asker_gets_the_result_and_the_error() -> None:
    called = threading.Event()
    errands = Errands(called.set)
    with ThreadPoolExecutor(2) as pool:
        right, wrong = (
            pool.submit(errands.ask, lambda: threading.current_thread().name),
            pool.submit(errands.ask, fail),
        )
        assert called.wait(10)
        while not (right.done() and wrong.done()):
            errands.work()
        assert right.result() == threading.current_thread().name
        with pytest.raises(TeachError, match="no such label"):
            wrong.result()


def test_too_much_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.daemon.errands._WAIT_S", 0.01)
    errands = Errands(lambda: None)
    done: list[int] = []
    work: Callable[[], None] = lambda: done.append(1)  # noqa: E731
    for _ in range(20):
        with pytest.raises(ErrandError, match="busy"):
            errands.ask(work)
    errands.work()
    assert done == []  # nobody waits for it any more

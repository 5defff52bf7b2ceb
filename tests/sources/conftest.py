"""Fixtures of the source tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], None]], threading.Thread]]:
    """Runs a function in a thread that must have ended by the end of the test."""
    started: list[threading.Thread] = []

    def start(function: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=function, daemon=True)
        thread.start()
        started.append(thread)
        return thread

    yield start
    for thread in started:
        thread.join(10)
        assert not thread.is_alive(), "the thread did not end"

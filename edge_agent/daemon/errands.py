"""Work that one thread wants done by another, and waits for: by the main thread, or between two frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from edge_agent.errors import EdgeAgentError

_MOST_WAITING = 8
_WAIT_S = 15.0

_T = TypeVar("_T")


class ErrandError(EdgeAgentError):
    """The other thread has not done it: it has too much to do, or ends."""


class Errand(Generic[_T]):
    """Something that another thread is to do; it calls `run`, and whoever wants it done waits in `result`."""

    def __init__(self, do: Callable[[], _T]) -> None:
        self._do: Callable[[], _T] | None = do
        self._done = threading.Event()
        self._results: list[_T] = []
        self._error: Exception | None = None

    def run(self) -> None:
        """Do it, unless nobody waits any more. An error is the asker's: this thread goes on."""
        do = self._do
        if do is None:
            return
        try:
            self._results.append(do())
        except Exception as error:
            self._error = error
        self._done.set()

    def result(self, timeout_s: float) -> _T:
        """Wait for the result. Raises what doing it has raised, and ErrandError where it takes too long."""
        is_done = self._done.wait(timeout_s)
        self._do = None
        if not is_done:
            raise ErrandError("the agent is busy")
        if self._error is not None:
            raise self._error
        return self._results[0]


class Errands:
    """Hands work to the main thread, which calls `work`; any other may call `ask`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called when there is work."""
        self._wake = wake
        self._waiting: queue.Queue[Errand[Any]] = queue.Queue(_MOST_WAITING)

    def ask(self, do: Callable[[], _T]) -> _T:
        """Have `do` called by the main thread; returns what it returns, and raises what it raises.

        Raises ErrandError where that takes too long.
        """
        errand = Errand(do)
        try:
            self._waiting.put_nowait(errand)
        except queue.Full:
            raise ErrandError("the agent is busy") from None
        self._wake()
        return errand.result(_WAIT_S)

    def work(self) -> None:
        """Do what waits. Used by the main thread; an error goes to who has asked."""
        while not self._waiting.empty():
            self._waiting.get_nowait().run()

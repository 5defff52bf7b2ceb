"""Work that another thread wants done by the main thread, and waits for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from edge_agent.errors import EdgeAgentError

_MOST_WAITING = 8
_WAIT_S = 15.0

_T = TypeVar("_T")


class ErrandError(EdgeAgentError):
    """The main thread has not done it: it has too much to do, or ends."""


class Errands:
    """Hands work to the main thread, which calls `work`; any other may call `ask`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called when there is work."""
        self._wake = wake
        self._waiting: queue.Queue[_Errand] = queue.Queue(_MOST_WAITING)

    def ask(self, do: Callable[[], _T]) -> _T:
        """Have `do` called by the main thread; returns what it returns, and raises what it raises.

        Raises ErrandError where that takes too long.
        """
        errand = _Errand(do)
        try:
            self._waiting.put_nowait(errand)
        except queue.Full:
            raise ErrandError("the agent is busy") from None
        self._wake()
        result: _T = errand.result(_WAIT_S)
        return result

    def work(self) -> None:
        """Do what waits. Used by the main thread; an error goes to who has asked."""
        while not self._waiting.empty():
            self._waiting.get_nowait().run()


class _Errand:
    def __init__(self, do: Callable[[], Any]) -> None:
        self._do: Callable[[], Any] | None = do
        self._done = threading.Event()
        self._result: Any = None
        self._error: Exception | None = None

    def run(self) -> None:
        do = self._do
        if do is None:
            return  # nobody waits any more
        try:
            self._result = do()
        except Exception as error:
            self._error = error
        self._done.set()

    def result(self, timeout_s: float) -> Any:
        is_done = self._done.wait(timeout_s)
        self._do = None
        if not is_done:
            raise ErrandError("the agent is busy")
        if self._error is not None:
            raise self._error
        return self._result

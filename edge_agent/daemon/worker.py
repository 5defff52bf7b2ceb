"""A thread that remembers how it ended, and rings when it does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge_agent.errors import EdgeAgentError

_LOG = logging.getLogger(__name__)


class Worker:
    """Runs `target` on a thread of its own; an error ends the thread, not the process."""

    def __init__(self, name: str, target: Callable[[], None], on_end: Callable[[], None]) -> None:
        """`on_end` is called on the thread, as the last thing."""
        self.error: Exception | None = None
        self._target = target
        self._on_end = on_end
        # A daemon thread: one that is stuck in a camera driver must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def ended(self) -> bool:
        """Whether it has run, and runs no more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end, no longer than this; returns whether it has come."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._target()
        except EdgeAgentError as error:
            self.error = error
            _LOG.error("%s", error)
        except Exception as error:
            self.error = error
            _LOG.exception("unexpected error ended the thread %s", self._thread.name)
        finally:
            self._on_end()

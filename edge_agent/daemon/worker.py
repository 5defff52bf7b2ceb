"""The agent's two threads: each remembers how it ended, and rings when it does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EdgeAgentError
from edge_agent.pipeline.capture_loop import CaptureLoop
from edge_agent.pipeline.inference_loop import InferenceLoop

_LOG = logging.getLogger(__name__)
_STOP_THREAD_S = 0.5


class Worker:
    """Runs `target` on a thread of its own; an error ends the thread, not the process."""

    def __init__(self, name: str, target: Callable[[], None], on_end: Callable[[], None]) -> None:
        """`on_end` is called on the thread, as the last thing."""
        self.error: BaseException | None = None
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
        except BaseException as error:  # a library that calls sys.exit() on a thread has failed too
            self.error = error
            _LOG.exception("unexpected error ended the thread %s", self._thread.name)
        finally:
            self._on_end()


class Threads:
    """The two loops, each on a thread of its own."""

    def __init__(self, loop: InferenceLoop, capture: CaptureLoop, on_end: Callable[[], None]) -> None:
        """`on_end` is called on a thread that ends, as the last thing."""
        self._loop = loop
        self._capture = capture
        self._inference_worker = Worker("inference", loop.run, on_end)
        self._capture_worker = Worker("capture", capture.run, on_end)

    def start(self) -> None:
        self._inference_worker.start()
        self._capture_worker.start()

    def exit_code(self) -> int | None:
        """The exit code that follows from a thread's end; None while there is still something to classify."""
        if self._inference_worker.error is not None or self._capture_worker.error is not None:
            return EXIT_FAILURE
        return EXIT_OK if self._inference_worker.ended else None

    def stop(self) -> None:
        """Stop both at once, since each may be in the middle of a frame; then free the model."""
        self._capture.stop()
        self._loop.stop()
        self._capture_worker.join(_STOP_THREAD_S)
        if self._inference_worker.join(_STOP_THREAD_S):
            self._loop.model.close()  # a thread that still runs would use it

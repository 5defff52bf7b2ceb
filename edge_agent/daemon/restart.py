"""Ends this process to be started again, and hands the reason over to the one that starts next."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_agent.memory.budget import is_about_memory
from edge_agent.pipeline.capture_loop import LASTING_PAUSE_S as CLOSED_S
from edge_agent.system.files import write_atomic
from edge_agent.system.log import say
from edge_agent.system.text import printable

_LOG = logging.getLogger(__name__)
_NAME = "restart-reason"
_LONGEST = 500
_SOON_S = 900.0


class PendingRestart:
    """Remembers that this process has to end, to be started again by the service manager."""

    def __init__(self, directory: Path) -> None:
        """`directory` keeps the reason for the next process."""
        self._directory = directory
        self._is_wanted = False
        self.reason = ""
        """Why, where it has to; the first of several."""

    @property
    def is_wanted(self) -> bool:
        """Whether the process has to end."""
        return self._is_wanted

    def want(self, reason: str) -> None:
        """End soon; the next process publishes why."""
        say(_LOG, logging.WARNING, "restarting", reason=reason)
        leave_reason(self._directory, reason)
        self.reason = self.reason or reason
        self._is_wanted = True


class MemoryRestarts:
    """Decides whether a restart can cure too much memory, or the camera is to be closed instead.

    A restart cures what grew over time. Where the process before this one ended for the same reason a short
    time ago, something here simply takes that much: most likely the camera's pictures.
    """

    def __init__(self, last_reason: str, started_s: float) -> None:
        """`last_reason`: why the process before this one ended; empty where it did not restart itself."""
        self._was_in_vain = is_about_memory(last_reason)
        self._started_s = started_s
        self._closed_s: float | None = None

    def may_help(self, now_s: float) -> bool:
        """Whether to restart; False: close the camera for CLOSED_S."""
        if self._closed_s is not None:
            # Closed just now, and still too much: it was not the camera.
            is_the_camera = now_s - self._closed_s >= CLOSED_S
        else:
            is_the_camera = self._was_in_vain and now_s - self._started_s < _SOON_S
        if is_the_camera:
            self._closed_s = now_s
        return not is_the_camera


def leave_reason(directory: Path, reason: str) -> bool:
    """Write down why this process ends; False where that is impossible (the restart matters more)."""
    try:
        write_atomic(directory / _NAME, reason)
    except OSError:
        return False
    return True


def take_reason(directory: Path) -> str:
    """Return the reason that the last process left, once; empty when it left none."""
    path = directory / _NAME
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            reason = file.read(_LONGEST)
        path.unlink()
    except OSError:
        return ""
    return printable(" ".join(reason.split()))

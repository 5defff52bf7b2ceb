"""Ends this process to be started again, and hands the reason over to the one that starts next."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_agent.system.files import write_atomic
from edge_agent.system.log import say
from edge_agent.system.text import printable

_LOG = logging.getLogger(__name__)
_NAME = "restart-reason"
_LONGEST = 500


class PendingRestart:
    """Remembers that this process has to end, to be started again by the service manager."""

    def __init__(self, directory: Path) -> None:
        """`directory` keeps the reason for the next process."""
        self._directory = directory
        self._is_wanted = False

    @property
    def is_wanted(self) -> bool:
        """Whether the process has to end."""
        return self._is_wanted

    def want(self, reason: str) -> None:
        """End soon; the next process publishes why."""
        say(_LOG, logging.WARNING, "restarting", reason=reason)
        leave_reason(self._directory, reason)
        self._is_wanted = True


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

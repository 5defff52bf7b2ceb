"""Hands the reason for a restart over to the agent that starts next."""

from __future__ import annotations

from pathlib import Path

from edge_agent.system.files import write_atomic

_NAME = "restart-reason"
_LONGEST = 500


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
        reason = path.read_text(encoding="utf-8", errors="replace")
        path.unlink()
    except OSError:
        return ""
    return " ".join(reason[:_LONGEST].split())

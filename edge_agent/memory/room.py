"""How much memory something that is about to be decoded may take."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.memory.procfs import MemoryUse, read_memory
from edge_agent.system.board import Board

Room = Callable[[], int]
"""Returns the bytes that may be taken now."""

MARGIN_MB = 8.0
"""Left free for whatever else happens meanwhile: an event is sent, a picture is encoded."""

LEAST_MB = 8.0
"""Always granted: what an ordinary frame takes. An agent whose budget is nearly used up by its model still
sees; what that leads to is the memory guard's business."""

_MB = 1 << 20
_MOST_OF_COMMAND_MB = 512.0
_COMMAND_SHARE = 0.5
_UNKNOWN_MB = 256.0


class BudgetRoom:
    """What the memory budget of the running agent leaves, measured whenever it is called."""

    def __init__(
        self, budget_mb: Callable[[], float], measure: Callable[[], MemoryUse] = read_memory
    ) -> None:
        """`budget_mb` returns the budget in force."""
        self._budget_mb = budget_mb
        self._measure = measure

    def __call__(self) -> int:
        free_mb = self._budget_mb() - self._measure().rss_mb - MARGIN_MB
        return int(max(LEAST_MB, free_mb) * _MB)


def command_room(board: Board | None = None) -> int:
    """What a command that has no budget may take for one picture: half of what is free, at most 512 MB."""
    free_mb = (board or Board()).available_mb()
    share_mb = _UNKNOWN_MB if free_mb is None else free_mb * _COMMAND_SHARE
    return int(min(_MOST_OF_COMMAND_MB, share_mb) * _MB)

"""How much memory a picture may take: what the budget leaves, with a margin."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.memory.procfs import MemoryUse
from edge_agent.memory.room import LEAST_MB, MARGIN_MB, BudgetRoom, command_room
from edge_agent.system.board import Board

MB = 1 << 20


def test_the_room_is_what_the_budget_leaves_just_now_less_a_margin() -> None:
    use_mb, budget_mb = 70.0, 128.0
    room = BudgetRoom(lambda: budget_mb, lambda: MemoryUse(use_mb, 0, 0, 0))
    assert room() == (128 - 70 - MARGIN_MB) * MB
    use_mb = 90.0
    assert room() == (128 - 90 - MARGIN_MB) * MB
    budget_mb = 256.0
    assert room() == (256 - 90 - MARGIN_MB) * MB


def test_an_ordinary_frame_always_has_room() -> None:
    assert BudgetRoom(lambda: 64, lambda: MemoryUse(90, 0, 0, 0))() == LEAST_MB * MB


@pytest.mark.parametrize(
    ("meminfo", "room_mb"),
    [("MemAvailable: 204800 kB\n", 100), ("MemAvailable: 8388608 kB\n", 512), ("", 256)],
)
def test_a_command_takes_half_of_what_is_free_and_never_more_than_512_mb(
    tmp_path: Path, meminfo: str, room_mb: int
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(meminfo)
    assert command_room(Board(tmp_path)) == room_mb * MB

"""What each part costs at start."""

from __future__ import annotations

from edge_agent.memory.costs import SubsystemCosts
from edge_agent.memory.procfs import MemoryUse


def test_each_part_is_charged_with_what_it_added() -> None:
    figures = iter([10.0, 25.5, 24.5])
    costs = SubsystemCosts(lambda: MemoryUse(next(figures), 0, 0, 0))
    added_mb = [costs.record(name).added_mb for name in ("python", "model", "trim")]
    assert costs.summary() == "python 10.0 MB, model +15.5, trim -1.0: 24.5 MB"
    assert added_mb == [10.0, 15.5, -1.0]


def test_nothing_recorded_is_said() -> None:
    assert SubsystemCosts().summary() == "nothing measured"


def test_real_memory_is_charged_to_the_part_that_took_it() -> None:
    costs = SubsystemCosts()
    costs.record("python")
    block = bytearray(b"x" * (32 << 20))
    assert 28 < costs.record("block").added_mb < 40
    assert len(block) == 32 << 20

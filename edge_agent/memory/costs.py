"""The resident memory that each part of the agent takes at start, measured after each part is up."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.procfs import MemoryUse, read_memory


@dataclass(frozen=True, slots=True)
class SubsystemCost:
    """The resident memory that one part added, in MB; it may be negative where memory was given back."""

    name: str
    added_mb: float


class SubsystemCosts:
    """Call `record` after each part has been started; the first part is charged with everything before it."""

    def __init__(self, measure: Callable[[], MemoryUse] = read_memory) -> None:
        self._measure = measure
        self._total_mb = 0.0
        self._costs: list[SubsystemCost] = []

    def record(self, name: str) -> SubsystemCost:
        """Charge `name` with the memory that was added since the last call."""
        rss_mb = self._measure().rss_mb
        cost = SubsystemCost(name, rss_mb - self._total_mb)
        self._total_mb = rss_mb
        self._costs.append(cost)
        return cost

    def summary(self) -> str:
        """One line: `python 11.0 MB, numpy +14.2, mqtt +6.1: 31.3 MB`."""
        if not self._costs:
            return "nothing measured"
        first, *others = self._costs
        parts = [f"{first.name} {first.added_mb:.1f} MB"]
        parts += [f"{cost.name} {cost.added_mb:+.1f}" for cost in others]
        return f"{', '.join(parts)}: {self._total_mb:.1f} MB"

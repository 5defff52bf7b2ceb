"""The memory budget, and the soft limit below it."""

from __future__ import annotations

import math

from edge_agent.config.schema import MemoryConfig
from edge_agent.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """How much resident memory the agent may take, in MB."""

    budget_mb: float
    """The hard limit."""
    soft_mb: float
    """From here on memory is trimmed."""

    @classmethod
    def from_config(cls, config: MemoryConfig) -> BudgetLimits:
        return cls(config.budget_mb, config.budget_mb * config.soft_percent / 100)

    def advised_budget_mb(self, floor_mb: float) -> int:
        """The budget under which a process of `floor_mb` would stay below the soft limit."""
        return math.ceil(floor_mb * self.budget_mb / self.soft_mb)

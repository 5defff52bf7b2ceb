"""The memory budget as the choice of an engine needs it: the budget, and the soft limit below it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_agent.config.schema import MemoryConfig


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """The memory budget, as far as the choice needs it, in MB."""

    budget_mb: float
    soft_mb: float

    @classmethod
    def of(cls, config: MemoryConfig) -> BudgetLimits:
        return cls(config.budget_mb, config.budget_mb * config.soft_percent / 100)

    def advised_budget_mb(self, floor_mb: float) -> int:
        """The budget under which a process of `floor_mb` would stay below the soft limit."""
        return math.ceil(floor_mb * self.budget_mb / self.soft_mb)

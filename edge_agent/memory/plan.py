"""Holds what was measured against the budget, and says what would fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.calibrate.evidence import Measurement
from edge_agent.config.schema import MemoryConfig
from edge_agent.errors import BudgetError


@dataclass(frozen=True, slots=True)
class Limits:
    """The memory budget, as far as the choice needs it, in MB."""

    budget_mb: float
    soft_mb: float

    @classmethod
    def of(cls, config: MemoryConfig) -> Limits:
        return cls(config.budget_mb, config.budget_mb * config.soft_percent / 100)

    def advised_budget_mb(self, floor_mb: float) -> int:
        """The budget under which a process of `floor_mb` would stay below the soft limit."""
        return math.ceil(floor_mb * self.budget_mb / self.soft_mb)


def refusal(limits: Limits, floors: Sequence[Measurement]) -> BudgetError:
    """The error for a budget that nothing measured fits: the floors, and what would fit."""
    leanest = min(floors, key=lambda m: m.steady_mb)
    listed = "; ".join(f"{m.name}: {m.steady_mb:.0f} MB" for m in sorted(floors, key=lambda m: m.steady_mb))
    return BudgetError(
        f"memory.budget_mb is {limits.budget_mb:g}, and nothing measured here fits it ({listed}):"
        f" set it to {limits.advised_budget_mb(leanest.steady_mb)} or more, or use a smaller model"
    )


def check_floor(name: str, limits: Limits, steady_mb: float, measured: Sequence[Measurement] = ()) -> None:
    """Hold the agent that has just warmed up and been trimmed to its budget.

    `steady_mb` is what it needs with the engine `name`; `measured` is what calibration found for others.
    Raises BudgetError, which says what would fit, when that is above the budget.
    """
    if steady_mb <= limits.budget_mb:
        return
    leaner = [f"{m.name} took {m.steady_mb:.0f} MB" for m in measured if m.steady_mb < steady_mb]
    others = f"choose a leaner way ({'; '.join(leaner)})" if leaner else "use a smaller model"
    raise BudgetError(
        f"memory.budget_mb is {limits.budget_mb:g}, and the agent with {name} needs {steady_mb:.0f} MB here:"
        f" set it to {limits.advised_budget_mb(steady_mb)} or more, or {others}"
    )

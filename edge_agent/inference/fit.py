"""Compares evidence with the memory budget, and says what would fit."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.errors import BudgetError
from edge_agent.inference.evidence import Evidence
from edge_agent.memory.limits import BudgetLimits


def refusal(limits: BudgetLimits, floors: Sequence[Evidence]) -> BudgetError:
    """Return the error for a budget below all evidence: it lists the floors and says what would fit."""
    leanest = min(floors, key=lambda m: m.steady_mb)
    listed = "; ".join(f"{m.name}: {m.steady_mb:.0f} MB" for m in sorted(floors, key=lambda m: m.steady_mb))
    return BudgetError(
        f"memory.budget_mb is {limits.budget_mb:g}, and nothing measured here fits it ({listed}):"
        f" set it to {limits.advised_budget_mb(leanest.steady_mb)} or more, or use a smaller model"
    )


def check_beforehand(name: str, limits: BudgetLimits, now_mb: float, needed_mb: float) -> None:
    """Check what an engine will need, at the least, against what the budget leaves.

    `now_mb` is the agent's memory without it. Raises BudgetError, which says what would fit.
    """
    total_mb = now_mb + needed_mb
    if total_mb > limits.budget_mb:
        raise BudgetError(
            f"memory.budget_mb is {limits.budget_mb:g}, and the agent with {name} needs"
            f" {total_mb:.0f} MB here, or more ({now_mb:.0f} MB, and {needed_mb:.0f} MB for the model):"
            f" set it to {limits.advised_budget_mb(total_mb)} or more, or use a smaller model"
        )


def check_floor(name: str, limits: BudgetLimits, steady_mb: float, measured: Sequence[Evidence] = ()) -> None:
    """Check a freshly warmed-up, trimmed agent against its budget.

    `steady_mb` is the agent's memory with the engine `name`; `measured` is the evidence for others. Raises
    BudgetError, which says what would fit, when the agent needs more than the budget.
    """
    if steady_mb <= limits.budget_mb:
        return
    leaner = [f"{m.name} took {m.steady_mb:.0f} MB" for m in measured if m.steady_mb < steady_mb]
    others = f"choose a leaner way ({'; '.join(leaner)})" if leaner else "use a smaller model"
    raise BudgetError(
        f"memory.budget_mb is {limits.budget_mb:g}, and the agent with {name} needs {steady_mb:.0f} MB here:"
        f" set it to {limits.advised_budget_mb(steady_mb)} or more, or {others}"
    )

"""Holds the running agent to its budget: measures, asks the monitor for an action, and carries it out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from edge_agent.memory.budget import Action, BudgetMonitor, Degrade, DegradeStep, Restart, Trim
from edge_agent.memory.procfs import MemoryUse, read_memory
from edge_agent.memory.trim import Trimmer
from edge_agent.system.log import say

_LOG = logging.getLogger(__name__)


class Degrader(Protocol):
    """Gives things up, to need less memory."""

    def degrade(self, step: DegradeStep) -> None:
        """Take the step. It may take effect later, for instance with the next frame; it must not raise."""
        ...


class MemoryGuard:
    """Call `check` every `memory.check_interval_s`; used by one thread."""

    def __init__(
        self,
        monitor: BudgetMonitor,
        trimmer: Trimmer,
        degrader: Degrader,
        measure: Callable[[], MemoryUse] = read_memory,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monitor = monitor
        self._trimmer = trimmer
        self._degrader = degrader
        self._measure = measure
        self._monotonic_s = monotonic_s
        self._use = measure()
        self._highest_mb = self._use.rss_mb

    @property
    def monitor(self) -> BudgetMonitor:
        return self._monitor

    @property
    def use(self) -> MemoryUse:
        """The latest measurement."""
        return self._use

    @property
    def highest_mb(self) -> float:
        """The highest resident memory that any check has seen."""
        return self._highest_mb

    def check(self) -> Restart | None:
        """Measure, and do what the budget asks for. Returns a Restart when the process has to end."""
        self._use = self._measure()
        self._highest_mb = max(self._highest_mb, self._use.rss_mb)
        return self._carry_out(self._monitor.sample(self._monotonic_s(), self._use.rss_mb))

    def go_on(self) -> None:
        """Carry on without the restart that `check` asked for."""
        self._monitor.go_on(self._monotonic_s())

    def trim(self) -> None:
        """Give memory back to the system now; `check` does so where the budget asks for it."""
        result = self._trimmer.trim()
        say(
            _LOG,
            logging.INFO,
            "memory trimmed",
            before_mb=round(result.before_mb, 1),
            after_mb=round(result.after_mb, 1),
            budget_mb=self._monitor.policy.budget_mb,
            note=result.note,
        )

    def _carry_out(self, action: Action | None) -> Restart | None:
        match action:
            case Trim():
                self.trim()
            case Degrade(step):
                rss_mb = round(self._use.rss_mb, 1)
                say(_LOG, logging.WARNING, "above the memory budget", rss_mb=rss_mb, step=step)
                self._degrader.degrade(step)
            case Restart(reason):
                say(_LOG, logging.ERROR, "restart wanted", reason=reason)
                return action
        return None

"""Keeps a training inside a budget of resident memory: a plan from measured steps, and a guard."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edge_agent.errors import ModelError
from edge_agent.memory.procfs import MemoryUse, read_memory
from edge_agent.memory.trim import Trimmer
from edge_agent.tools.train.loop import Recipe
from edge_agent.tools.train.probe import Probe
from edge_agent.tools.train.recompute import Checkpoint

FEWEST = 2
"""Pictures at once: batch norm has no statistics of one where a layer's result is one pixel large."""
_MANY = 8
_MARGIN, _LEAST_MARGIN_MB = 0.03, 16.0

Kind = tuple[Checkpoint, int]
"""A step that computes again by this mode, and takes so many pictures at once."""
Measure = Callable[[Sequence[Kind]], Sequence[Probe]]
"""Says what steps of some kinds take."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the pictures of a step go through the network, and what that takes."""

    accumulate: int
    checkpoint: Checkpoint
    peak_mb: float
    """At most, of the whole process."""
    step_s: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plan within the budget, beside what would have been done without one."""

    plan: Plan
    asked: Plan

    def text(self, budget_mb: float, batch: int) -> str:
        """The plan and its price, in a sentence."""
        plan, asked = self.plan, self.asked
        at_once = math.ceil(batch / plan.accumulate)
        more = plan.step_s / asked.step_s - 1
        return (
            f"within {budget_mb:.0f} MB: {batch} pictures a step, {at_once} at once (--accumulate"
            f" {plan.accumulate}), --checkpoint {plan.checkpoint}: at most {plan.peak_mb:.0f} MB, about"
            f" {plan.step_s:.2g} s a step; without a budget about {asked.peak_mb:.0f} MB and"
            f" {asked.step_s:.2g} s, so it costs {max(more, 0.0):.0%} more time"
        )


@dataclass(frozen=True, slots=True)
class _Line:
    """What a step takes, by pictures at once: two are measured, and it grows evenly between and beyond."""

    few: Probe
    many: Probe

    def above_mb(self, pictures: int) -> float:
        return self._at(pictures, _above(self.few), _above(self.many))

    def step_s(self, pictures: int) -> float:
        return max(self._at(pictures, self.few.step_s, self.many.step_s), 1e-4)

    def _at(self, pictures: int, few: float, many: float) -> float:
        apart = self.many.batch - self.few.batch
        return many + (many - few) / apart * (pictures - self.many.batch) if apart else many


def choose(
    budget_mb: float, recipe: Recipe, modes: Sequence[Checkpoint], now: MemoryUse, measure: Measure
) -> Chosen:
    """The quickest plan within the budget whose batch norm sees the most pictures at once.

    `modes` are the ways to compute again that this training has, the quickest first; `now` is what the
    process has before its first step. The plan is measured before it is returned. Raises ModelError, which
    names the least that would do, where there is none.
    """
    few, many = min(FEWEST, recipe.batch), min(_MANY, recipe.batch)
    found = measure([(mode, pictures) for mode in modes for pictures in (few, many)])
    lines = {
        mode: _Line(*pair)
        for mode, pair in zip(modes, zip(found[::2], found[1::2], strict=True), strict=True)
    }

    def plan(accumulate: int, mode: Checkpoint) -> Plan:
        at_once = math.ceil(recipe.batch / accumulate)
        line = lines[mode]
        peak_mb = _whole(now, line.above_mb(at_once))
        return Plan(accumulate, mode, peak_mb, accumulate * line.step_s(at_once))

    asked = plan(recipe.accumulate, modes[0])
    plans = [plan(accumulate, mode) for accumulate in _divisions(recipe) for mode in modes]
    for each in plans:
        if each.peak_mb <= budget_mb:
            (probe,) = measure([(each.checkpoint, math.ceil(recipe.batch / each.accumulate))])
            peak_mb = max(each.peak_mb, _whole(now, _above(probe)))
            if peak_mb <= budget_mb:
                return Chosen(replace(each, peak_mb=peak_mb, step_s=each.accumulate * probe.step_s), asked)
    least = min(each.peak_mb for each in plans)
    raise ModelError(
        f"--memory-budget {budget_mb:.0f}: the least that would do is {math.ceil(least * 1.01)} MB, of which"
        f" {now.rss_mb:.0f} MB are there before the first step"
    )


def _divisions(recipe: Recipe) -> list[int]:
    most = max(recipe.accumulate, recipe.batch // FEWEST)
    found = [recipe.accumulate]
    while found[-1] * 2 <= most:
        found.append(found[-1] * 2)
    return found


def _above(probe: Probe) -> float:
    return probe.peak_mb - probe.idle_mb


def _whole(now: MemoryUse, above_mb: float) -> float:
    """The peak of the process for a step that takes so much, with a margin for what two steps differ by."""
    return max(now.rss_mb + above_mb + max(_LEAST_MARGIN_MB, _MARGIN * above_mb), now.peak_mb)


class Guard:
    """Looks at the memory before every step, and takes fewer pictures at once rather than exceed it."""

    def __init__(
        self,
        budget_mb: float,
        at_once: int,
        read: Callable[[], MemoryUse] = read_memory,
        trim: Callable[[], object] | None = None,
    ) -> None:
        """`at_once`: the pictures of the plan."""
        self._budget_mb, self._at_once = budget_mb, at_once
        self._read, self._trim = read, trim or Trimmer().trim
        self._peak_mb: float | None = None
        self._rise_mb = 0.0

    def most(self) -> int:
        """How many pictures the next step may take at once.

        A step needs what is there between steps, and what it rose above that the last time it went higher
        than ever. Raises ModelError where not even the fewest pictures fit.
        """
        use = self._read()
        if self._peak_mb is not None and use.peak_mb > self._peak_mb:
            self._rise_mb = use.peak_mb - use.rss_mb
        self._peak_mb = use.peak_mb
        if use.rss_mb + self._rise_mb > self._budget_mb:
            self._trim()
            use = self._read()
        while use.rss_mb + self._rise_mb > self._budget_mb:
            if self._at_once <= FEWEST:
                raise ModelError(
                    f"--memory-budget {self._budget_mb:.0f}: {use.rss_mb:.0f} MB are in use between steps,"
                    " and the next would exceed it; with a larger budget it goes on from the last state"
                )
            self._at_once = max(FEWEST, self._at_once // 2)
            self._rise_mb /= 2
        return self._at_once

"""Decides how to react to the memory in use: a pure state machine, from samples to actions."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from edge_agent.config.schema import MemoryConfig
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.limits import BudgetLimits

BudgetState = Literal["ok", "soft", "hard"]

_SETTLE_CHECKS = 2  # checks until a measure should have shown its effect
_HYSTERESIS_SHARE = 0.02


class DegradeStep(StrEnum):
    """The things that the agent can give up to need less memory, in the order in which it does."""

    REOPEN_STREAM = "reopen_stream"
    """Nothing is given up where the stream is what it was; one that has grown too large is refused."""
    STREAM_WEIGHTS = "stream_weights"
    """Time is given up, nothing else."""
    FP16_WEIGHTS = "fp16_weights"
    NO_IMAGES = "no_images"
    NO_PAGE = "no_page"
    SMALL_FRAME = "small_frame"


@dataclass(frozen=True, slots=True)
class Trim:
    """Give memory back to the system."""


@dataclass(frozen=True, slots=True)
class Degrade:
    """Give up something."""

    step: DegradeStep


@dataclass(frozen=True, slots=True)
class Restart:
    """Nothing else is left: end, to be started again, and say why."""

    reason: str


Action = Trim | Degrade | Restart

_REASON = "resident memory"


def is_about_memory(reason: str) -> bool:
    """Whether a process that ended for `reason` did so because of its memory."""
    return reason.startswith(_REASON)


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """The limits, in MB of resident memory, and how patient the monitor is, in seconds."""

    budget_mb: float
    """The hard limit."""
    soft_mb: float
    """From here on memory is trimmed."""
    settle_s: float = 10.0
    """How long to wait after a measure against the hard limit before the next one."""
    trim_interval_s: float = 30.0
    """Trims come no faster than this."""
    longest_trim_interval_s: float = 900.0
    """Trims that do not help are spaced further apart, up to this interval: each causes page faults."""
    grace_s: float = 60.0
    """After the start only trimming is done: memory peaks while loading, and a model too large is refused."""
    runaway_factor: float = 1.5
    """Above this many budgets there is no time for steps: the restart follows the trimming at once."""

    @classmethod
    def from_config(cls, config: MemoryConfig) -> BudgetPolicy:
        limits = BudgetLimits.from_config(config)
        return cls(limits.budget_mb, limits.soft_mb, settle_s=_SETTLE_CHECKS * config.check_interval_s)

    @property
    def recovered_mb(self) -> float:
        """Below this the state is `ok` again: a little under the soft limit, so that it does not flap."""
        return self.soft_mb - _HYSTERESIS_SHARE * self.budget_mb


class BudgetMonitor:
    """Turns samples of resident memory into actions.

    Below the soft limit nothing is done. From the soft limit on, memory is trimmed, seldom. Above the budget
    it is trimmed at once, unless that was done within `trim_interval_s`; if the next samples are still above
    it, the steps are taken one by one, `settle_s` apart, and at last a restart is asked for, once. A step
    that was taken stays taken until the next start: going back and forth would cost more than it saves.
    """

    def __init__(self, policy: BudgetPolicy, steps: Sequence[DegradeStep], started_s: float) -> None:
        """`steps` are those that this agent can take, in order; `started_s` is when the agent was started."""
        self._policy = policy
        self._steps_left = list(steps)
        self._steps_taken: list[DegradeStep] = []
        self._started_s = started_s
        self._state: BudgetState = "ok"
        self._last_trim_s: float | None = None
        self._last_measure_s: float | None = None
        self._soft_trim_interval_s = policy.trim_interval_s
        self._restart: Restart | None = None

    @property
    def state(self) -> BudgetState:
        """`hard` above the budget, `soft` from the soft limit on, `ok` below."""
        return self._state

    @property
    def policy(self) -> BudgetPolicy:
        return self._policy

    @property
    def steps_taken(self) -> tuple[DegradeStep, ...]:
        return tuple(self._steps_taken)

    def adopt(self, policy: BudgetPolicy) -> None:
        """Follow another policy from now on; the steps that were taken stay taken."""
        self._policy = policy
        self._soft_trim_interval_s = policy.trim_interval_s

    def go_on(self, now_s: float) -> None:
        """Begin with trimming again: something else than the restart that was asked for was done."""
        self._restart = None
        self._last_trim_s = None
        self._last_measure_s = now_s

    def sample(self, now_s: float, rss_mb: float) -> Action | None:
        """Take note of the memory in use at `now_s` (monotonic seconds); return what to do, if anything."""
        self._state = self._state_at(rss_mb)
        if self._restart is not None or self._state == "ok":
            self._soft_trim_interval_s = self._policy.trim_interval_s
            return None
        if self._state == "soft":
            return self._on_soft(now_s)
        return self._on_hard(now_s, rss_mb)

    def _state_at(self, rss_mb: float) -> BudgetState:
        if rss_mb > self._policy.budget_mb:
            return "hard"
        if rss_mb >= self._policy.soft_mb:
            return "soft"
        lingers = self._state != "ok" and rss_mb >= self._policy.recovered_mb
        return "soft" if lingers else "ok"

    def _on_soft(self, now_s: float) -> Action | None:
        if not _passed(self._last_trim_s, self._soft_trim_interval_s, now_s):
            return None
        # Still here after the last trim: it did not help, so the next one can wait longer.
        if self._last_trim_s is not None:
            doubled = 2 * self._soft_trim_interval_s
            self._soft_trim_interval_s = min(doubled, self._policy.longest_trim_interval_s)
        return self._trim(now_s)

    def _on_hard(self, now_s: float, rss_mb: float) -> Action | None:
        if not _passed(self._last_measure_s, self._policy.settle_s, now_s):
            return None
        # With long intervals between the checks, the trim before this check was the latest one all the same.
        recently_s = max(self._policy.trim_interval_s, 2 * self._policy.settle_s)
        if _passed(self._last_trim_s, recently_s, now_s):
            return self._trim(now_s)
        if now_s - self._started_s < self._policy.grace_s:
            return None
        self._last_measure_s = now_s
        if self._steps_left and rss_mb <= self._policy.runaway_factor * self._policy.budget_mb:
            return self._degrade()
        self._restart = Restart(self._reason(rss_mb))
        return self._restart

    def _trim(self, now_s: float) -> Trim:
        self._last_trim_s = self._last_measure_s = now_s
        return Trim()

    def _degrade(self) -> Degrade:
        step = self._steps_left.pop(0)
        self._steps_taken.append(step)
        return Degrade(step)

    def _reason(self, rss_mb: float) -> str:
        tried = ", ".join(["trimming", *self._steps_taken])
        budget = f"{self._policy.budget_mb:g} MB"
        return f"{_REASON} {rss_mb:.0f} MB is above the budget of {budget} after {tried}"


def _passed(since_s: float | None, interval_s: float, now_s: float) -> bool:
    return since_s is None or now_s - since_s >= interval_s

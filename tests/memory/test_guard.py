"""The guard at work, down to a real process that leaks until it has to restart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edge_agent.daemon.restart import take_reason
from edge_agent.errors import EXIT_RESTART
from edge_agent.memory.budget import BudgetMonitor, BudgetPolicy, DegradeStep, Restart
from edge_agent.memory.guard import MemoryGuard
from edge_agent.memory.procfs import MemoryUse
from edge_agent.memory.trim import Trimmer
from tests.clock import FakeClock

_POLICY = BudgetPolicy(budget_mb=100, soft_mb=90, settle_s=0, trim_interval_s=30, grace_s=0)


class FakeAgent:
    """An agent whose memory is a number: trimming and each step take something off it. Its C library, too."""

    def __init__(self, rss_mb: float, trim_mb: float = 0, step_mb: float = 0) -> None:
        self.rss_mb = rss_mb
        self._clock = FakeClock()
        self.trims = 0
        self.steps: list[DegradeStep] = []
        self._trim_mb = trim_mb
        self._step_mb = step_mb

    def measure(self) -> MemoryUse:
        return MemoryUse(self.rss_mb, 0, 0, self.rss_mb)

    def clock(self) -> float:
        self._clock.advance(5)
        return self._clock.now_s

    def mallopt(self, parameter: int, value: int) -> bool:
        raise AssertionError(f"not asked for: {parameter} {value}")

    def malloc_trim(self) -> bool | None:
        self.trims += 1
        self.rss_mb -= self._trim_mb
        return True

    def drop(self, start: int, length: int) -> bool:
        raise AssertionError(f"not asked for: {start} {length}")

    def degrade(self, step: DegradeStep) -> None:
        self.steps.append(step)
        self.rss_mb -= self._step_mb

    def guard(self) -> MemoryGuard:
        monitor = BudgetMonitor(_POLICY, tuple(DegradeStep), started_s=0)
        trimmer = Trimmer(self, tuple, self.measure)
        return MemoryGuard(monitor, trimmer, self, self.measure, self.clock)


def test_an_agent_within_its_budget_is_only_measured() -> None:
    agent = FakeAgent(rss_mb=50)
    guard = agent.guard()
    assert [guard.check() for _ in range(10)] == [None] * 10
    assert (agent.trims, agent.steps, guard.use.rss_mb) == (0, [], 50)


def test_trimming_that_helps_is_enough() -> None:
    agent = FakeAgent(rss_mb=105, trim_mb=30)
    guard = agent.guard()
    for _ in range(10):
        guard.check()
    assert (agent.trims, agent.steps, guard.monitor.state) == (1, [], "ok")
    assert guard.highest_mb == 105


def test_steps_are_taken_until_the_budget_holds() -> None:
    agent = FakeAgent(rss_mb=115, step_mb=10)
    guard = agent.guard()
    for _ in range(5):
        guard.check()
    assert agent.steps == list(DegradeStep)[:2]


def test_an_agent_that_nothing_helps_has_to_restart() -> None:
    guard = FakeAgent(rss_mb=115).guard()
    answers = [guard.check() for _ in range(len(DegradeStep) + 3)]
    assert [type(answer) for answer in answers if answer] == [Restart]


_LEAKING = """
import sys
from pathlib import Path
from edge_agent.errors import EXIT_RESTART
from edge_agent.memory.budget import BudgetMonitor, BudgetPolicy, DegradeStep
from edge_agent.memory.guard import MemoryGuard
from edge_agent.memory.procfs import read_memory
from edge_agent.daemon.restart import leave_reason
from edge_agent.memory.trim import Trimmer

class Agent:
    def degrade(self, step):
        print(step, flush=True)

start_mb = read_memory().rss_mb
policy = BudgetPolicy(budget_mb=start_mb + 60, soft_mb=start_mb + 40, settle_s=0, grace_s=0)
guard = MemoryGuard(BudgetMonitor(policy, tuple(DegradeStep), 0.0), Trimmer(), Agent())
leak = []
for _ in range(100):
    leak.append(bytearray(b"x" * (2 << 20)))
    if (restart := guard.check()) is not None:
        leave_reason(Path(sys.argv[1]), restart.reason)
        sys.exit(EXIT_RESTART)
"""


def test_a_process_that_leaks_restarts_with_its_reason_before_memory_runs_out(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAKING, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == EXIT_RESTART, done.stderr
    assert done.stdout.split() == [str(step) for step in DegradeStep]
    assert "above the budget" in take_reason(tmp_path)

"""Clocks that a test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.system.clock import SystemClock


class LeapingClock(SystemClock):
    """The real clock, until a test lets it leap ahead."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@dataclass(slots=True)
class FakeClock:
    """A clock that only moves when a test moves it; called, it is the monotonic one alone.

    Sleeping takes no time.
    """

    now_s: float = 1000.0
    wall_s: float = 1_750_000_000.0
    is_synced: bool = True
    slept_s: list[float] = field(default_factory=list)
    while_asleep: Callable[[], None] = lambda: None
    """Called in each `sleep`, for whatever the test wants to happen then."""

    def monotonic_s(self) -> float:
        return self.now_s

    def __call__(self) -> float:
        return self.now_s

    def time_s(self) -> float:
        return self.wall_s

    def synced(self) -> bool:
        return self.is_synced

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall_s += seconds

    def sleep(self, interrupted: threading.Event, seconds: float) -> bool:
        """Stands in for `threading.Event.wait`."""
        self.slept_s.append(seconds)
        self.advance(seconds)
        self.while_asleep()
        return interrupted.is_set()

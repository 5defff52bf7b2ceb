"""A clock that only moves when a test moves it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class FakeClock:
    """An `edge_agent.system.clock.Clock`; called, it is the monotonic one alone. Sleeping takes no time."""

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

"""Lets so many things pass in a minute: requests, and other messages that make the agent work."""

from __future__ import annotations

from edge_agent.system.clock import Clock


class TokenBucket:
    """Lets `per_minute` things pass in a minute, and at most that many at once."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._tokens = float(per_minute)
        self._since_s = clock.monotonic_s()

    @property
    def is_empty(self) -> bool:
        """Whether nothing may pass now."""
        self._refill()
        return self._tokens < 1

    def take(self) -> bool:
        """Whether one more may pass now."""
        if self.is_empty:
            return False
        self._tokens -= 1
        return True

    def _refill(self) -> None:
        now_s = self._clock.monotonic_s()
        gained = (now_s - self._since_s) * self._per_minute / 60
        self._tokens = min(self._tokens + gained, float(self._per_minute))
        self._since_s = now_s

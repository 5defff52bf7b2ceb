"""Frame rate and latency over an interval."""

from __future__ import annotations

import threading
from array import array

import numpy as np

from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import LatencyHealth

_MOST_LATENCIES = 4096
_LEAST_S = 10.0


@dataclass(frozen=True, slots=True)
class FrameRate:
    """The frames of one interval."""

    frames: int
    """Classified."""
    fps: float | None
    """Classified a second; None until it could be measured over ten seconds."""
    latency: LatencyHealth
    skipped: int = 0
    """Not classified, because nothing had moved."""
    unknown: int = 0
    """Classified, with the label unknown."""

    @property
    def skipped_percent(self) -> float:
        """The share of all frames, 0 to 100, that was skipped: that much inference was saved."""
        return 100 * self.skipped / (self.frames + self.skipped) if self.skipped else 0.0

    @property
    def unknown_percent(self) -> float | None:
        """The share of classified frames, 0 to 100, with the label unknown; None without a frame."""
        return 100 * self.unknown / self.frames if self.frames else None


class SteadyRate:
    """The rate of a growing count, measured over ten seconds at least: over less it would be chance."""

    def __init__(self) -> None:
        self._since: tuple[float, int] | None = None
        self._per_s: float | None = None

    def update(self, now_s: float, count: int) -> float | None:
        """The rate up to now, or as measured last; None before the first measurement, which begins with the
        first call that has counted anything."""
        if self._since is None:
            self._since = (now_s, count) if count else None
        elif (seconds := now_s - self._since[0]) >= _LEAST_S:
            self._per_s = (count - self._since[1]) / seconds
            self._since = (now_s, count)
        return self._per_s


class FrameStats:
    """Counts classified frames and keeps their latencies until the next `take`, by whatever thread.

    Memory is bounded: an interval's latest `most` latencies count.
    """

    def __init__(self, most: int = _MOST_LATENCIES) -> None:
        self._rate = SteadyRate()
        self._classified = 0
        self._frames = 0
        self._unknown = 0
        self._skipped = 0
        self._most = most
        self._latencies_ms = array("f")
        self._lock = threading.Lock()

    def add(self, latency_ms: float, *, unknown: bool = False) -> None:
        """Count a frame that was answered `latency_ms` after its capture."""
        with self._lock:
            if len(self._latencies_ms) < self._most:
                self._latencies_ms.append(latency_ms)
            else:
                self._latencies_ms[self._frames % self._most] = latency_ms
            self._frames += 1
            self._unknown += unknown
            self._classified += 1

    def skip(self) -> None:
        """Count a frame that needed no answer."""
        with self._lock:
            self._skipped += 1

    def take(self, now_s: float) -> FrameRate:
        """Return the interval since the last call (or the start), and begin a new one."""
        with self._lock:
            fps = self._rate.update(now_s, self._classified)
            rate = FrameRate(self._frames, fps, self._latency(), self._skipped, self._unknown)
            self._frames = self._skipped = self._unknown = 0
            del self._latencies_ms[:]
            return rate

    def _latency(self) -> LatencyHealth:
        if not self._latencies_ms:
            return LatencyHealth(None, None)
        # Each figure is a latency that was measured: the median of an even number is the lower middle one.
        median, slow = np.percentile(self._latencies_ms, (50, 95), method="inverted_cdf")
        return LatencyHealth(float(median), float(slow))

"""Puts the `health` payload together: frame rate and latency over an interval, and snapshots of the parts."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from edge_agent.memory.budget import BudgetState
from edge_agent.memory.procfs import MemoryUse
from edge_agent.mqtt.contract.payloads import BoardHealth, LatencyHealth, MemoryHealth
from edge_agent.percentile import percentile
from edge_agent.system.board import CgroupMemory, Throttling

_MOST_LATENCIES = 4096


@dataclass(frozen=True, slots=True)
class FrameRate:
    """What was classified in one interval."""

    frames: int
    fps: float
    latency: LatencyHealth
    skipped: int = 0
    """Frames that were not classified, because nothing had moved."""

    @property
    def skipped_percent(self) -> float:
        """The share of all frames, 0 to 100, that was skipped: that much inference was saved."""
        return 100 * self.skipped / (self.frames + self.skipped) if self.skipped else 0.0


class FrameStats:
    """Counts classified frames and keeps their latencies until the next `take`; used by one thread at a time.

    Memory is bounded: of an interval with more than `most` frames, the latest `most` latencies count.
    """

    def __init__(self, started_s: float, most: int = _MOST_LATENCIES) -> None:
        self._since_s = started_s
        self._frames = 0
        self._skipped = 0
        self._most = most
        self._latencies_ms = array("f")

    def add(self, latency_ms: float) -> None:
        """Count a frame that was answered `latency_ms` after its capture."""
        if len(self._latencies_ms) < self._most:
            self._latencies_ms.append(latency_ms)
        else:
            self._latencies_ms[self._frames % self._most] = latency_ms
        self._frames += 1

    def skip(self) -> None:
        """Count a frame that needed no answer."""
        self._skipped += 1

    def take(self, now_s: float) -> FrameRate:
        """Return the interval since the last call (or the start), and begin a new one."""
        seconds = now_s - self._since_s
        fps = self._frames / seconds if seconds > 0 else 0.0
        rate = FrameRate(self._frames, fps, self._latency(), self._skipped)
        self._since_s = now_s
        self._frames = self._skipped = 0
        del self._latencies_ms[:]
        return rate

    def _latency(self) -> LatencyHealth:
        if not self._latencies_ms:
            return LatencyHealth(None, None)
        return LatencyHealth(percentile(self._latencies_ms, 0.5), percentile(self._latencies_ms, 0.95))


def memory_health(
    use: MemoryUse, budget_mb: float, state: BudgetState, cgroup: CgroupMemory, highest_mb: float = 0.0
) -> MemoryHealth:
    """The memory section: what is in use, measured, next to the budget and to the kernel's own limit.

    `highest_mb` is the highest sum over all processes that was ever sampled; the peak published is at least
    that.
    """
    return MemoryHealth(
        rss_mb=use.rss_mb,
        anon_mb=use.anon_mb,
        file_mb=use.file_mb,
        peak_mb=max(use.peak_mb, highest_mb),
        budget_mb=budget_mb,
        state=state,
        cgroup_limit_mb=cgroup.limit_mb,
        cgroup_live=cgroup.live,
    )


def board_health(
    temperature_c: float | None, throttling: Throttling | None, pace_percent: float = 100.0
) -> BoardHealth:
    """The board section; None for what this board does not tell."""
    if throttling is None:
        return BoardHealth(temperature_c, None, None, None, None, pace_percent=pace_percent)
    return BoardHealth(
        temperature_c=temperature_c,
        under_voltage=throttling.under_voltage,
        frequency_capped=throttling.frequency_capped,
        throttled=throttling.throttled,
        soft_temperature_limit=throttling.soft_temperature_limit,
        occurred=throttling.occurred,
        pace_percent=pace_percent,
    )

"""How the agent was over the last hours: the few figures of each `health`, for the page's charts."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime

from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import Health

_MOST_SAMPLES = 720


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one `health`; None for what was not known."""

    ts: datetime
    rss_mb: float
    budget_mb: float
    fps: float | None
    latency_ms: float | None
    """The median, from the end of a frame's capture to its answer."""
    temperature_c: float | None
    connected: bool
    """To the broker."""
    camera: str
    """Its state, as in `health`."""


class History:
    """The latest samples, oldest first. Any thread may add and read."""

    def __init__(self, most: int = _MOST_SAMPLES) -> None:
        self._samples: deque[Sample] = deque(maxlen=most)
        self._lock = threading.Lock()

    def add(self, health: Health) -> None:
        """Keep the figures of one `health`."""
        sample = Sample(
            health.ts,
            health.memory.rss_mb,
            health.memory.budget_mb,
            health.fps,
            health.latency_ms.p50,
            health.board.temperature_c,
            health.mqtt.connected,
            health.camera.state,
        )
        with self._lock:
            self._samples.append(sample)

    def samples(self) -> tuple[Sample, ...]:
        """All that are kept."""
        with self._lock:
            return tuple(self._samples)

"""Tells how the agent is: the `health` payload, and the line that `systemctl status` shows."""

from __future__ import annotations

from edge_agent.daemon.health import FrameRate, memory_health
from edge_agent.memory.guard import MemoryGuard
from edge_agent.mqtt.contract.payloads import BoardHealth, CameraHealth, Health, utc
from edge_agent.mqtt.wire.status import BrokerStatus
from edge_agent.pipeline.capture_loop import CaptureStatus
from edge_agent.system.board import Board
from edge_agent.system.clock import Clock


class HealthReporter:
    """Assembles `health` from snapshots of the parts."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._clock = clock
        self._cgroup = board.cgroup()
        self._started_s = clock.monotonic_s()

    def health(
        self,
        rate: FrameRate,
        guard: MemoryGuard,
        camera: CameraHealth,
        broker: BrokerStatus,
        board: BoardHealth,
        *,
        flaps: int,
        skipped: int,
    ) -> Health:
        """The payload as of now; `rate` is that of the interval since the last one."""
        memory = memory_health(
            guard.use,
            guard.monitor.policy.budget_mb,
            guard.monitor.state,
            self._cgroup,
            guard.highest_mb,
        )
        return Health(
            ts=utc(self._clock.time_s()),
            ts_synced=self._clock.synced(),
            uptime_s=self._clock.monotonic_s() - self._started_s,
            memory=memory,
            camera=camera,
            mqtt=broker.health(),
            board=board,
            fps=rate.fps,
            skipped=skipped,
            latency_ms=rate.latency,
            flaps=flaps,
            skipped_percent=rate.skipped_percent,
        )


def camera_health(status: CaptureStatus, source_type: str) -> CameraHealth:
    """The camera section of `health`."""
    return CameraHealth(
        state=status.state,
        source=source_type,
        frames=status.frames,
        dropped=status.dropped,
        reopened=status.reopened,
        last_error=status.last_error,
    )


def status_line(
    shown: str, fps: float, rss_mb: float, budget_mb: float, broker: str, camera: str, *notes: str
) -> str:
    """`tabby 87%, 2.0 fps, RSS 88 of 128 MB, broker connected, camera running`, and the notes not empty."""
    parts = [
        shown or "no frame yet",
        f"{fps:.1f} fps",
        f"RSS {rss_mb:.0f} of {budget_mb:.0f} MB",
        f"broker {broker}",
        f"camera {camera}",
    ]
    return ", ".join([*parts, *(note for note in notes if note)])

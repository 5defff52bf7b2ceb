"""Reports what runs here and why, and how it is: the payloads `info` and `health`, and the status line."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import field

from edge_agent import __version__
from edge_agent.config.live import LiveConfig
from edge_agent.config.schema import Config
from edge_agent.daemon.cooling import Cooling
from edge_agent.daemon.schedule import Every
from edge_agent.daemon.teaching import Teaching
from edge_agent.inference.choice import Choice
from edge_agent.inference.loading import LoadedModel
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.budget import BudgetState
from edge_agent.memory.guard import MemoryGuard
from edge_agent.memory.procfs import MemoryUse
from edge_agent.mqtt.contract.payloads import (
    BrokerLack,
    CameraHealth,
    EvidenceInfo,
    GroupInfo,
    HeadInfo,
    Health,
    Info,
    InstallInfo,
    MemoryHealth,
    ModelInfo,
    utc,
)
from edge_agent.mqtt.link import BrokerLink
from edge_agent.pipeline.capture_loop import CaptureLoop, CaptureState, CaptureStatus
from edge_agent.pipeline.frame_stats import SteadyRate
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.system.board import Board, CgroupMemory
from edge_agent.system.clock import Clock


@dataclass(slots=True)
class Report:
    """Describes the agent by snapshots of its parts. Used by the main thread."""

    live: LiveConfig
    link: BrokerLink
    loop: InferenceLoop
    capture: CaptureLoop
    guard: MemoryGuard
    cooling: Cooling
    board: Board
    clock: Clock
    teaching: Teaching
    restart_reason: str = ""
    """Why the process before this one restarted itself; empty where it did not."""
    groups: Callable[[], tuple[GroupInfo, ...]] = tuple
    """What became of the wanted state of the device's groups."""
    install: Callable[[], InstallInfo | None] = lambda: None
    """What became of the latest model that was asked for."""
    health_due: Every = field(init=False)
    """Hastened by what `health` should show at once."""
    latest: Health | None = field(init=False, default=None)
    """The latest `health`."""
    _cgroup: CgroupMemory = field(init=False)
    _started_s: float = field(init=False)
    _rate: SteadyRate = field(init=False, default_factory=SteadyRate)
    _camera: CaptureState | None = field(init=False, default=None)
    _losses: tuple[BrokerLack, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        self.health_due = Every(self.live.config.publish.health_interval_s)
        self._cgroup = self.board.cgroup()
        self._started_s = self.clock.monotonic_s()

    def publish_info(self) -> None:
        """Publish what is running and how it is configured."""
        refused = self.live.error
        self.link.publish_info(
            info_payload(
                self.live.config,
                self.loop.model,
                board=self.board,
                clock=self.clock,
                config_error=str(refused) if refused else "",
                restart_reason=self.restart_reason,
                broker_lacks=self._losses,
                heads=self.teaching.heads(),
                groups=self.groups(),
                install=self.install(),
            )
        )

    def follow_broker(self) -> None:
        """Publish `info` again where the broker offers more or less than was said."""
        broker = self.link.status
        if broker.connected and broker.losses != self._losses:
            self._losses = broker.losses
            self.publish_info()

    def follow_teaching(self) -> None:
        """Publish `info` again where something was taught."""
        if self.teaching.take_changed():
            self.publish_info()

    def publish_health_when_due(self, now_s: float) -> None:
        """Publish how the agent is, in each interval, and when the camera's state has changed."""
        if (camera := self.capture.status.state) != self._camera:
            self._camera = camera
            self.health_due.hasten()
        if self.health_due.is_due(now_s):
            self.latest = self._health()
            self.link.publish_health(self.latest)

    def status_line(self) -> str:
        """One line, with the frame rate over ten seconds at least."""
        refused = self.live.error
        return status_line(
            self.loop.shown,
            self._rate.update(self.clock.monotonic_s(), self.loop.classified),
            self.guard.use.rss_mb,
            self.guard.monitor.policy.budget_mb,
            self.link.status.summary,
            self.capture.status.state,
            self.cooling.note,
            f"configuration refused: {refused.summary}" if refused else "",
        )

    def _health(self) -> Health:
        rate = self.loop.take_rate()
        guard = self.guard
        policy, state = guard.monitor.policy, guard.monitor.state
        return Health(
            ts=utc(self.clock.time_s()),
            ts_synced=self.clock.synced(),
            uptime_s=self.clock.monotonic_s() - self._started_s,
            memory=memory_health(guard.use, policy.budget_mb, state, self._cgroup, guard.highest_mb),
            camera=camera_health(self.capture.status, self.live.config.source.type),
            mqtt=self.link.status.health(),
            board=self.cooling.health(),
            fps=rate.fps,
            skipped=self.loop.skipped,
            latency_ms=rate.latency,
            flaps=self.loop.flaps,
            interval_s=self.health_due.interval_s,
            skipped_percent=rate.skipped_percent,
            unknown_percent=rate.unknown_percent,
            teaching=self.teaching.health(),
            schedule=self.loop.schedule,
        )


def memory_health(
    use: MemoryUse, budget_mb: float, state: BudgetState, cgroup: CgroupMemory, highest_mb: float = 0.0
) -> MemoryHealth:
    """The memory section of `health`: the measured use, next to the budget and to the kernel's own limit.

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


def camera_health(status: CaptureStatus, source_type: str) -> CameraHealth:
    """The camera section of `health`."""
    return CameraHealth(
        state=status.state,
        source=source_type,
        frames=status.frames,
        dropped=status.dropped,
        reopened=status.reopened,
        last_error=status.last_error,
        unusable=status.unusable,
    )


def status_line(
    shown: str, fps: float | None, rss_mb: float, budget_mb: float, broker: str, camera: str, *notes: str
) -> str:
    """`tabby 87%, 2.0 fps, RSS 88 of 128 MB, broker connected, camera running`, and the notes not empty."""
    parts = [
        shown or "no frame yet",
        "fps unknown yet" if fps is None else f"{fps:.1f} fps",
        f"RSS {rss_mb:.0f} of {budget_mb:.0f} MB",
        f"broker {broker}",
        f"camera {camera}",
    ]
    return ", ".join([*parts, *(note for note in notes if note)])


def evidence_payload(choice: Choice) -> EvidenceInfo:
    """The section of `info` on why the engine and precision were chosen, with their measurements."""
    measured = choice.measured
    return EvidenceInfo(
        source=choice.source,
        reason=choice.reason,
        agreement=measured.agreement if measured else None,
        latency_ms=measured.latency_p50_ms if measured else None,
        rss_mb=measured.steady_mb if measured else None,
        measured=choice.measured_at,
    )


def info_payload(
    config: Config,
    model: LoadedModel,
    *,
    board: Board,
    clock: Clock,
    config_error: str = "",
    restart_reason: str = "",
    broker_lacks: tuple[BrokerLack, ...] = (),
    heads: tuple[HeadInfo, ...] = (),
    groups: tuple[GroupInfo, ...] = (),
    install: InstallInfo | None = None,
) -> Info:
    """Return `info`; `config` is the one in force, `config_error` why the file's is not."""
    sidecar = model.artifact.sidecar
    return Info(
        ts=utc(clock.time_s()),
        ts_synced=clock.synced(),
        version=__version__,
        python=platform.python_version(),
        board=board.model() or board.cpu().name,
        system=_system_name(platform.freedesktop_os_release),
        model=ModelInfo(sidecar.name, sidecar.arch, sidecar.sha256, len(sidecar.labels)),
        engine=model.engine.info,
        evidence=evidence_payload(model.choice),
        config=config,
        config_error=config_error,
        restart_reason=restart_reason,
        broker_lacks=broker_lacks,
        heads=heads,
        groups=groups,
        install=install,
    )


def _system_name(read_release: Callable[[], dict[str, str]]) -> str:
    """The operating system and its kernel: `Debian GNU/Linux 13 (trixie), Linux 6.12.0`."""
    try:
        name = read_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    kernel = f"{platform.system()} {platform.release()}"
    return f"{name}, {kernel}" if name else kernel

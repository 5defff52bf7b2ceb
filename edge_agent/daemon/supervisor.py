"""The main thread's work: signals, live configuration, memory budget, health, status and watchdog."""

from __future__ import annotations

import logging
import select
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.config.changes import Changes
from edge_agent.config.last_good import LastGood
from edge_agent.config.live import LiveConfig, Refused, ReloadResult
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.config.watch import ConfigWatcher
from edge_agent.daemon.cooling import SAMPLE_S, Cooling
from edge_agent.daemon.degrade import reduced
from edge_agent.daemon.info import info_payload
from edge_agent.daemon.report import HealthReporter, camera_health, status_line
from edge_agent.daemon.restart import leave_reason
from edge_agent.daemon.schedule import Every
from edge_agent.daemon.signals import Signals
from edge_agent.daemon.worker import Worker
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EXIT_RESTART, SourceError
from edge_agent.inference.loading import label_map
from edge_agent.memory.budget import policy_of
from edge_agent.memory.costs import SubsystemCosts
from edge_agent.memory.guard import MemoryGuard
from edge_agent.mqtt.link import BrokerLink
from edge_agent.mqtt.requests import Reloaded
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.inference_loop import InferenceLoop, Rules
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.sources.factory import make_source
from edge_agent.system import log
from edge_agent.system.board import Board
from edge_agent.system.clock import Clock
from edge_agent.system.log import say
from edge_agent.system.systemd import Notifier, WatchdogGate
from edge_agent.system.wake import Wake

_LOG = logging.getLogger(__name__)
_LONGEST_WAIT_S = 1.0
_STATUS_INTERVAL_S = 5.0
_START_EXTENSION_S = 60.0
_BROKER_WAIT_S = 5.0
_SETTLED_FRAMES = 10
_BROKER_WAIT_ONCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The running agent, as far as the supervisor has to do with it."""

    loop: InferenceLoop
    capture: CaptureLoop
    inference_worker: Worker
    capture_worker: Worker
    link: BrokerLink
    guard: MemoryGuard
    gate: WatchdogGate
    notifier: Notifier
    signals: Signals
    wake: Wake
    watcher: ConfigWatcher


class Supervisor:
    """Watches over the parts until one of them ends, or somebody ends them."""

    def __init__(
        self,
        parts: Parts,
        live: LiveConfig,
        *,
        costs: SubsystemCosts,
        board: Board,
        clock: Clock,
        state_dir: Path,
        watchdog_s: float | None,
        restart_reason: str = "",
        last_good: LastGood | None = None,
    ) -> None:
        """`watchdog_s`: within this the service manager expects to hear of progress; None for no watchdog.
        `restart_reason`: why the process before this one restarted itself. `last_good` keeps each
        configuration that worked."""
        self._parts = parts
        self._live = live
        self._costs = costs
        self._board = board
        self._clock = clock
        self._state_dir = state_dir
        self._restart_reason = restart_reason
        self._last_good = last_good
        self._reporter = HealthReporter(board, clock)
        self._is_ready = False
        self._is_settled = False
        self._told_camera = ""
        self._restart_wanted = False
        self._start_by_s: float | None = clock.monotonic_s() + _broker_wait_s(live.config)
        self._memory_due = Every(live.config.memory.check_interval_s)
        self._health_due = Every(live.config.publish.health_interval_s)
        self._status_due = Every(_STATUS_INTERVAL_S)
        self._cooling = Cooling(board, live.config.thermal)
        self._cooling_due = Every(SAMPLE_S)
        self._pace_fps = live.config.source.fps
        self._watchdog_due = None if watchdog_s is None else Every(watchdog_s / 2)
        self._counted = (clock.monotonic_s(), 0)

    def run(self) -> int:
        """Let the threads run, and supervise them until the end; returns the exit code."""
        self.publish_info()
        self._parts.link.start(self)
        while True:
            code = self._round()
            if code is not None:
                return code
            self._wait()

    def publish_info(self) -> None:
        """Publish what is running and how it is configured."""
        refused = self._live.error
        self._parts.link.publish_info(
            info_payload(
                self._live.config,
                self._parts.loop.model,
                board=self._board,
                clock=self._clock,
                config_error=str(refused) if refused else "",
                restart_reason=self._restart_reason,
            )
        )

    def _round(self) -> int | None:
        """Do everything that is due; returns the exit code when it is time to end."""
        now_s = self._clock.monotonic_s()
        if self._parts.signals.stop:
            say(_LOG, logging.INFO, "stopping", signal=self._parts.signals.stop)
            return EXIT_OK
        if self._start_by_s is not None:
            self._start_when_connected(now_s, self._start_by_s)
        if (code := self._ended()) is not None:
            return code
        if self._memory_due.is_due(now_s) and (restart := self._parts.guard.check()) is not None:
            self._want_restart(restart.reason)
        if self._config_was_saved():
            self._reload_saved()
        self._parts.link.carry_out_requests()
        if self._cooling_due.is_due(now_s):
            self._cool(now_s)
        self._tell(now_s)
        return EXIT_RESTART if self._restart_wanted else None

    def _start_when_connected(self, now_s: float, start_by_s: float) -> None:
        """Wait a moment for the broker: the first answers should not be lost to a connection that is late."""
        broker = self._parts.link.status
        if broker.connected or now_s >= start_by_s:
            if not broker.connected:
                say(_LOG, logging.WARNING, "starting without the broker", broker=broker.summary)
            self._start_by_s = None
            self._parts.inference_worker.start()
            self._parts.capture_worker.start()

    def _ended(self) -> int | None:
        workers = (self._parts.inference_worker, self._parts.capture_worker)
        if any(worker.error is not None for worker in workers):
            return EXIT_FAILURE
        return EXIT_OK if self._parts.inference_worker.ended else None

    def _want_restart(self, reason: str) -> None:
        """End, to be started anew by the service manager; the next process publishes why."""
        say(_LOG, logging.WARNING, "restarting", reason=reason)
        leave_reason(self._state_dir, reason)
        self._restart_wanted = True

    def _cool(self, now_s: float) -> None:
        """Look at the board's temperature, and capture as fast as it allows."""
        loop = self._parts.loop
        self._cooling.sample(now_s, loop.classified + loop.skipped)
        if self._cooling.pace_fps(self._live.config.source.fps) != self._pace_fps:
            self._set_pace(self._live.config)

    def _set_pace(self, config: Config) -> None:
        self._pace_fps = self._cooling.pace_fps(config.source.fps)
        self._parts.capture.use_policy(replace(capture_policy(config), fps=self._pace_fps))

    def _tell(self, now_s: float) -> None:
        """Publish health; tell the service manager that there is progress."""
        if not self._is_ready and self._parts.loop.classified:
            self._is_ready = True
            self._costs.record("camera, broker and first frame")
            budget_mb = self._live.config.memory.budget_mb
            say(_LOG, logging.INFO, f"memory: {self._costs.summary()}", budget_mb=budget_mb)
            self._parts.notifier.ready(self._status(now_s))
            self._health_due.hasten()
            self._keep_good()
        if not self._is_settled and self._parts.loop.classified >= _SETTLED_FRAMES:
            # What only starting needed, code above all, need not stay resident for months.
            self._is_settled = True
            self._parts.guard.trim()
        if self._watchdog_due and self._watchdog_due.is_due(now_s) and self._parts.gate.should_feed():
            self._parts.notifier.watchdog()
        if self._status_due.is_due(now_s):
            self._parts.notifier.status(self._status(now_s))
            if not self._is_ready and self._parts.gate.should_feed():
                # A camera that is not there at boot is waited for; being killed would not bring it.
                self._parts.notifier.extend_timeout(_START_EXTENSION_S)
        if (camera := self._parts.capture.status.state) != self._told_camera:
            self._told_camera = camera
            self._health_due.hasten()
        if self._health_due.is_due(now_s):
            self.publish_health()

    def publish_health(self) -> None:
        """Publish how the agent is now."""
        parts = self._parts
        parts.link.publish_health(
            self._reporter.health(
                parts.loop.take_rate(),
                parts.guard,
                camera_health(parts.capture.status, self._live.config.source.type),
                parts.link.status,
                self._cooling.health(),
                flaps=parts.loop.flaps,
                skipped=parts.loop.skipped,
            )
        )

    def _status(self, now_s: float) -> str:
        before_s, before = self._counted
        classified = self._parts.loop.classified
        fps = (classified - before) / (now_s - before_s) if now_s > before_s else 0.0
        self._counted = (now_s, classified)
        refused = self._live.error
        return status_line(
            self._parts.loop.shown,
            fps,
            self._parts.guard.use.rss_mb,
            self._parts.guard.monitor.policy.budget_mb,
            self._parts.link.status.summary,
            self._parts.capture.status.state,
            self._cooling.note,
            f"configuration refused: {refused.summary}" if refused else "",
        )

    def _config_was_saved(self) -> bool:
        was_changed = self._parts.watcher.changed()  # in each round: it empties the descriptor
        return self._parts.signals.take_reload() or was_changed

    def pause(self) -> None:
        """Take no frames until `resume`."""
        self._parts.capture.pause()
        self._health_due.hasten()

    def resume(self) -> None:
        """Take frames again."""
        self._parts.capture.resume()
        self._health_due.hasten()

    def snapshot(self) -> bytes:
        """The frame classified last, as JPEG. Raises SourceError when there is none yet."""
        frame = self._parts.loop.last_frame
        if frame is None:
            raise SourceError("no frame has been classified yet")
        return encode_jpeg(frame.pixels, self._live.config.publish.image_quality)

    def config(self) -> Config:
        """The configuration in force."""
        return self._live.config

    def reload(self) -> Reloaded:
        """Take over the edited configuration. Raises ConfigError when it is refused, whole."""
        notifier = self._parts.notifier
        if self._is_ready:
            notifier.reloading("reading the configuration")
        try:
            return self._take_over(self._live.reload())
        finally:
            self.publish_info()
            if self._is_ready:
                notifier.ready(self._status(self._clock.monotonic_s()))

    def _reload_saved(self) -> None:
        """Take over the edited configuration, or say why it is refused."""
        try:
            self.reload()
        except InvalidConfigError as error:
            error.log("the edited configuration is refused, the last good one stays in force")

    def _take_over(self, result: ReloadResult) -> Reloaded:
        if isinstance(result, Refused):
            raise result.error
        changes = result.changes
        if changes:
            say(_LOG, logging.INFO, "configuration changed", settings=changes.describe())
            self._apply(result.config, changes)
        return Reloaded(tuple(change.key for change in changes), self._restart_wanted)

    def _apply(self, config: Config, changes: Changes) -> None:
        """Do what the changes take, and no more."""
        if Apply.RESTART in changes.kinds:
            needing = [change.key for change in changes if change.apply is Apply.RESTART]
            self._want_restart(f"the configuration changed: {', '.join(needing)}")
            return
        config = reduced(config, self._parts.guard.monitor.steps_taken)
        self._apply_live(config, changes)
        if Apply.SOURCE in changes.kinds:
            self._parts.capture.use_source(make_source(config.source))
        if Apply.BROKER in changes.kinds:
            self._parts.link.reconnect(config)
        if self._is_ready:
            self._keep_good()

    def _keep_good(self) -> None:
        if self._last_good:
            self._last_good.keep(self._live.config)

    def _apply_live(self, config: Config, changes: Changes) -> None:
        parts = self._parts
        log.set_level(config.log.level)
        parts.link.adopt(config)
        parts.guard.monitor.adopt(policy_of(config.memory))
        self._cooling.adopt(config.thermal)
        self._set_pace(config)
        self._memory_due.interval_s = config.memory.check_interval_s
        self._health_due.interval_s = config.publish.health_interval_s
        rules = Rules.of(config)
        parts.loop.between_frames(lambda: parts.loop.adopt(rules))
        if changes.touches("labels"):
            labels = label_map(parts.loop.model.artifact, config.labels)
            parts.loop.between_frames(lambda: parts.loop.model.classifier.use_labels(labels))

    def _wait(self) -> None:
        """Sleep until something is due, a signal arrives, or the configuration was saved."""
        now_s = self._clock.monotonic_s()
        due = [self._memory_due, self._health_due, self._status_due, self._cooling_due]
        due += [self._watchdog_due] if self._watchdog_due else []
        timeout_s = min(_LONGEST_WAIT_S, *(every.left_s(now_s) for every in due))
        if (settled_s := self._parts.watcher.due_in_s()) is not None:
            timeout_s = min(timeout_s, settled_s)
        watched = [self._parts.wake.fd]
        if (saved := self._parts.watcher.fileno()) is not None:
            watched.append(saved)
        select.select(watched, [], [], timeout_s)
        self._parts.wake.clear()


def _broker_wait_s(config: Config) -> float:
    """A camera goes on showing things; pictures that are played once would be answered to nobody."""
    source = config.source
    once = (source.type == "folder" and not source.folder.loop) or (
        source.type == "file" and not source.file.loop
    )
    return _BROKER_WAIT_ONCE_S if once else _BROKER_WAIT_S


def capture_policy(config: Config) -> CapturePolicy:
    """How fast to capture, and how long to pause before reopening."""
    source = config.source
    return CapturePolicy(source.fps, source.reopen_min_s, source.reopen_max_s)

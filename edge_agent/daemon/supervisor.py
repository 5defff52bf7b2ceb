"""The main thread's loop: waits until there is something to do, looks what it is, and has it done."""

from __future__ import annotations

import logging
import select
from dataclasses import field

from edge_agent.config.schema import SourceConfig
from edge_agent.config.watch import ConfigWatcher
from edge_agent.daemon.cooling import SAMPLE_S, Cooling
from edge_agent.daemon.errands import Errands
from edge_agent.daemon.model_exchange import ModelExchange
from edge_agent.daemon.reload import Reloader
from edge_agent.daemon.report import Report
from edge_agent.daemon.restart import MemoryRestarts, PendingRestart
from edge_agent.daemon.schedule import Every
from edge_agent.daemon.service import Service
from edge_agent.daemon.signals import Signals
from edge_agent.daemon.teaching import Teaching
from edge_agent.daemon.worker import Threads
from edge_agent.errors import EXIT_OK, EXIT_RESTART
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.costs import SubsystemCosts
from edge_agent.memory.guard import MemoryGuard
from edge_agent.mqtt.link import BrokerLink
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.sources import LastingError
from edge_agent.system.clock import Clock
from edge_agent.system.log import say
from edge_agent.system.wake import Wake

_LOG = logging.getLogger(__name__)
_LONGEST_WAIT_S = 1.0
_BROKER_WAIT_S = 5.0
_BROKER_WAIT_ONCE_S = 30.0
_SETTLED_FRAMES = 10


@dataclass(slots=True)
class Supervisor:
    """Runs the main loop until a part ends, a stop is requested, or a restart is wanted."""

    clock: Clock
    wake: Wake
    signals: Signals
    watcher: ConfigWatcher
    threads: Threads
    """Not started yet."""
    loop: InferenceLoop
    link: BrokerLink
    guard: MemoryGuard
    memory_due: Every
    """When `guard` checks."""
    costs: SubsystemCosts
    cooling: Cooling
    service: Service
    report: Report
    reloader: Reloader
    restart: PendingRestart
    teaching: Teaching
    errands: Errands
    models: ModelExchange
    broker_wait_s: float
    """The threads start once the broker is connected, at the latest after this time."""
    _cooling_due: Every = field(init=False, default_factory=lambda: Every(SAMPLE_S))
    _start_by_s: float | None = field(init=False)
    _is_settled: bool = field(init=False, default=False)
    _memory_restarts: MemoryRestarts = field(init=False)

    def __post_init__(self) -> None:
        now_s = self.clock.monotonic_s()
        self._start_by_s = now_s + self.broker_wait_s
        self._memory_restarts = MemoryRestarts(self.report.restart_reason, now_s)

    def run(self) -> int:
        """Let the threads run, and supervise them until the end; returns the exit code."""
        while (code := self.round()) is None:
            self._wait()
        return code

    def round(self) -> int | None:
        """Do everything that is due, without waiting; returns the exit code when it is time to end."""
        now_s = self.clock.monotonic_s()
        if self.signals.stop:
            say(_LOG, logging.INFO, "stopping", signal=self.signals.stop)
            return EXIT_OK
        if self._start_by_s is not None:
            self._start_when_connected(now_s, self._start_by_s)
        if (code := self.threads.exit_code()) is not None:
            return code
        if self.memory_due.is_due(now_s) and (restart := self.guard.check()) is not None:
            self._relieve(restart.reason, now_s)
        was_saved = self.watcher.changed()  # in each round: it empties the descriptor
        is_asked = not self.watcher.is_being_written and self.signals.take_reload()
        if was_saved or is_asked:
            self.reloader.reload_saved()
        self.link.carry_out_requests()
        self.errands.work()
        self.teaching.work(now_s)
        self.report.follow_teaching()
        self.report.follow_broker()
        if self._cooling_due.is_due(now_s):
            self.cooling.sample(now_s, self.loop.classified + self.loop.skipped)
        self._follow_start()
        self.service.notify(now_s)
        self.report.publish_health_when_due(now_s)
        self.models.work(now_s)
        return EXIT_RESTART if self.restart.is_wanted else None

    def _relieve(self, reason: str, now_s: float) -> None:
        """Restart for memory, or close the camera for a while where a restart did not help."""
        if self._memory_restarts.may_help(now_s):
            self.restart.want(reason)
            return
        self.report.capture.close_for_a_while(
            LastingError(
                f"{reason}, and a restart did not help: the camera is closed for ten minutes; give it a"
                " smaller picture or stream, or raise memory.budget_mb"
            )
        )
        self.guard.go_on()

    def _start_when_connected(self, now_s: float, start_by_s: float) -> None:
        """Wait a moment for the broker: the first answers should not be lost to a connection that is late."""
        broker = self.link.status
        if broker.connected or now_s >= start_by_s:
            if not broker.connected:
                say(_LOG, logging.WARNING, "starting without the broker", broker=broker.summary)
            self._start_by_s = None
            self.threads.start()

    def _follow_start(self) -> None:
        """Finish the start: report readiness after the first frame, trim after some more."""
        if not self.service.is_ready and self.loop.classified:
            self.costs.record("camera, broker and first frame")
            budget_mb = self.guard.monitor.policy.budget_mb
            say(_LOG, logging.INFO, f"memory: {self.costs.summary()}", budget_mb=budget_mb)
            self.service.ready()
            self.report.health_due.hasten()
            self.reloader.keep_good()
        if not self._is_settled and self.loop.classified >= _SETTLED_FRAMES:
            # Trim once after start-up: most start-up code is never used again.
            self._is_settled = True
            self.guard.trim()

    def _wait(self) -> None:
        """Sleep until something is due, a thread or a signal rings, or the configuration was saved."""
        now_s = self.clock.monotonic_s()
        due = (self.memory_due, self._cooling_due, self.report.health_due)
        pauses_s = [_LONGEST_WAIT_S, self.service.left_s(now_s), *(every.left_s(now_s) for every in due)]
        if (lesson_s := self.teaching.wait_s) is not None:
            pauses_s.append(lesson_s)
        if (settled_s := self.watcher.due_in_s()) is not None:
            pauses_s.append(settled_s)
        descriptors = [self.wake.fd]
        if (saved := self.watcher.fileno()) is not None:
            descriptors.append(saved)
        select.select(descriptors, [], [], min(pauses_s))
        self.wake.clear()


def broker_wait_s(source: SourceConfig) -> float:
    """How long to wait for the broker: longer for pictures played once, whose answers would be lost."""
    is_folder_once = source.type == "folder" and not source.folder.loop
    is_file_once = source.type == "file" and not source.file.loop
    return _BROKER_WAIT_ONCE_S if is_folder_once or is_file_once else _BROKER_WAIT_S

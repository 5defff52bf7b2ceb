"""The daemon: starts its parts in order, has them supervised, and stops them in reverse."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, TypeVar

from edge_agent.config.changes import Changes
from edge_agent.config.last_good import LastGood
from edge_agent.config.live import LiveConfig, Veto
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.config.watch import ConfigWatcher, open_inotify
from edge_agent.daemon.degrade import Degradation, possible_steps
from edge_agent.daemon.restart import take_reason
from edge_agent.daemon.signals import Signals
from edge_agent.daemon.supervisor import Parts, Supervisor, capture_policy
from edge_agent.daemon.worker import Worker
from edge_agent.inference.choice import choose_here
from edge_agent.inference.fit import check_floor
from edge_agent.inference.loading import LoadedModel, label_map, load_model, warm_up
from edge_agent.memory.budget import BudgetMonitor, policy_of
from edge_agent.memory.costs import SubsystemCosts
from edge_agent.memory.guard import MemoryGuard
from edge_agent.memory.limits import BudgetLimits
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.trim import SystemLibc, Trimmer, tune_allocator
from edge_agent.model.sidecar import read_sidecar
from edge_agent.mqtt.events.outbox import Outbox, open_outbox
from edge_agent.mqtt.events.sequence import SequenceNumbers
from edge_agent.mqtt.link import BrokerLink
from edge_agent.pipeline.capture_loop import CaptureLoop
from edge_agent.pipeline.inference_loop import InferenceLoop, Rules
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.sources.factory import make_source
from edge_agent.system import paths
from edge_agent.system.board import Board
from edge_agent.system.clock import Clock
from edge_agent.system.log import say
from edge_agent.system.systemd import Notifier, WatchdogGate, watchdog_interval_s
from edge_agent.system.wake import Wake

_LOG = logging.getLogger(__name__)
_STOP_THREAD_S = 0.5
_RETURN_FROM_KB = 256  # pictures come and go in all sizes: kept for reuse, they would fragment the heap
_SEQUENCE_FILE = "sequence"


class Closable(Protocol):
    """What has something to release."""

    def close(self) -> None: ...


_Closable = TypeVar("_Closable", bound=Closable)


def run_agent(
    config_file: Path,
    config: Config,
    *,
    clock: Clock,
    environment: Mapping[str, str] = os.environ,
    max_frames: int | None = None,
    refused: InvalidConfigError | None = None,
    last_good: LastGood | None = None,
) -> int:
    """Run the daemon until it is told to stop, or its source ends; returns the exit code.

    `max_frames`: end after so many classified frames; None for never. `refused`: what is wrong with the file,
    where `config` is not from it; `last_good` keeps what works. Raises EdgeAgentError when it cannot start:
    what is wrong with the model, the budget, or a label.
    """
    with ExitStack() as stack:
        agent = Agent(config_file, config, clock, environment, max_frames, stack)
        return agent.run(refused, last_good)


class Agent:
    """One run of the daemon. What is started puts its own stop on the stack, so the end mirrors the start."""

    def __init__(
        self,
        config_file: Path,
        config: Config,
        clock: Clock,
        environment: Mapping[str, str],
        max_frames: int | None,
        stack: ExitStack,
    ) -> None:
        self._config_file = config_file
        self._config = config
        self._clock = clock
        self._environment = environment
        self._max_frames = max_frames
        self._stack = stack
        self._state_dir = paths.state_dir(environment)
        self._costs = SubsystemCosts()
        self._trimmer = Trimmer()
        self._board = Board()
        self._wake = Wake()
        self._gate = WatchdogGate()

    def run(self, refused: InvalidConfigError | None, last_good: LastGood | None) -> int:
        """Start, work, and return the exit code; the caller closes the stack."""
        tune_allocator(SystemLibc())
        notifier = self._close_later(Notifier.from_environment(self._environment))
        signals = self._close_later(Signals(self._wake))
        watcher = self._close_later(ConfigWatcher(self._config_file, open_inotify()))
        self._costs.record("python")
        model = self._load_model()
        outbox = self._close_later(open_outbox(self._config.outbox, self._clock, self._environment))
        link = self._make_link(outbox)
        sequence = self._close_later(
            SequenceNumbers(self._state_dir / _SEQUENCE_FILE, self._clock, floor=outbox.newest)
        )
        capture, loop = self._make_pipeline(model, link, sequence)
        live = LiveConfig(self._config_file, self._config, self._veto_for(loop), error=refused)
        guard = self._make_guard(loop, capture, live)
        self._costs.record("pipeline")
        parts = Parts(
            loop=loop,
            capture=capture,
            inference_worker=Worker("inference", loop.run, self._wake.ring),
            capture_worker=Worker("capture", capture.run, self._wake.ring),
            link=link,
            guard=guard,
            gate=self._gate,
            notifier=notifier,
            signals=signals,
            wake=self._wake,
            watcher=watcher,
        )
        return self._supervise(parts, live, last_good)

    def _close_later(self, part: _Closable) -> _Closable:
        self._stack.callback(part.close)
        return part

    def _load_model(self) -> LoadedModel:
        model = load_model(self._config.model, self._config.memory, self._config.labels, self._environment)
        self._costs.record("model")
        if model.engine.info.engine == "xnnpack":
            # torch allocates anew in each frame: there this would cost thousands of page faults.
            tune_allocator(SystemLibc(), threshold_kb=_RETURN_FROM_KB)
        use = read_memory()
        limits = BudgetLimits.of(self._config.memory)
        if use.rss_mb > limits.soft_mb:
            self._trimmer.trim()
            warm_up(model)
            use = read_memory()
        measured = (model.choice.measured,) if model.choice.measured else ()
        check_floor(model.choice.name, limits, use.rss_mb, measured)
        say(
            _LOG,
            logging.INFO,
            f"model {model.artifact.sidecar.name}",
            engine=model.engine.info.engine,
            precision=model.engine.info.precision,
            arithmetic=model.engine.info.arithmetic,
            threads=model.engine.info.threads,
            library=model.engine.info.library,
            why=model.choice.reason,
        )
        return model

    def _make_link(self, outbox: Outbox) -> BrokerLink:
        link = BrokerLink(
            self._config,
            events=outbox,
            clock=self._clock,
            wake=self._wake.ring,
            environment=self._environment,
        )
        self._stack.callback(link.stop)
        self._costs.record("mqtt")
        return link

    def _make_pipeline(
        self, model: LoadedModel, link: BrokerLink, sequence: SequenceNumbers
    ) -> tuple[CaptureLoop, InferenceLoop]:
        frames = LatestFrame()
        source = make_source(self._config.source)
        capture = CaptureLoop(source, frames, capture_policy(self._config), self._gate)
        loop = InferenceLoop(
            frames,
            model,
            Rules.of(self._config),
            outlet=link,
            next_seq=sequence.next,
            clock=self._clock,
            progress=self._gate,
            max_frames=self._max_frames,
        )
        return capture, loop

    def _make_guard(self, loop: InferenceLoop, capture: CaptureLoop, live: LiveConfig) -> MemoryGuard:
        monitor = BudgetMonitor(
            policy_of(self._config.memory),
            possible_steps(self._config, loop.model),
            self._clock.monotonic_s(),
        )
        return MemoryGuard(monitor, self._trimmer, Degradation(loop, capture, lambda: live.config))

    def _veto_for(self, loop: InferenceLoop) -> Veto:
        """Refuses what is valid in itself, but what this agent, or the next one, could not run with."""

        def veto(config: Config, changes: Changes) -> None:
            if Apply.RESTART in changes.kinds:
                artifact = read_sidecar(config.model.path)
                choose_here(artifact, config.model, config.memory, self._environment)
                label_map(artifact, config.labels)
            else:
                label_map(loop.model.artifact, config.labels)

        return veto

    def _supervise(self, parts: Parts, live: LiveConfig, last_good: LastGood | None) -> int:
        """Let the threads run, and watch over them until the end."""
        supervisor = Supervisor(
            parts,
            live,
            costs=self._costs,
            board=self._board,
            clock=self._clock,
            state_dir=self._state_dir,
            watchdog_s=watchdog_interval_s(self._environment),
            restart_reason=take_reason(self._state_dir),
            last_good=last_good,
        )
        self._stack.callback(self._stop_threads, parts)
        code = supervisor.run()
        parts.notifier.stopping("stopping")
        return code

    @staticmethod
    def _stop_threads(parts: Parts) -> None:
        """Stop both at once, since each may be in the middle of a frame; then free the model."""
        parts.capture.stop()
        parts.loop.stop()
        parts.capture_worker.join(_STOP_THREAD_S)
        if parts.inference_worker.join(_STOP_THREAD_S):
            parts.loop.model.close()  # a thread that still runs would use it

"""The daemon: puts its parts together, has them supervised, and ends them in reverse."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.config.changes import Changes
from edge_agent.config.last_good import LastGood
from edge_agent.config.live import LiveConfig, Veto
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.schema import Config, MemoryConfig, SourceConfig
from edge_agent.config.setting import Apply
from edge_agent.config.watch import ConfigWatcher, Signature, open_inotify
from edge_agent.daemon.cooling import Cooling
from edge_agent.daemon.degrade import Degradation, possible_steps
from edge_agent.daemon.errands import Errands
from edge_agent.daemon.model_exchange import ModelExchange, refuse_program
from edge_agent.daemon.page import OwnersPage
from edge_agent.daemon.reload import Reloader
from edge_agent.daemon.remote import RemoteCommands
from edge_agent.daemon.report import Report
from edge_agent.daemon.restart import PendingRestart, take_reason
from edge_agent.daemon.schedule import Every
from edge_agent.daemon.service import Service
from edge_agent.daemon.signals import Signals
from edge_agent.daemon.supervisor import Supervisor, broker_wait_s
from edge_agent.daemon.teaching import Teaching
from edge_agent.daemon.wanted import WantedState
from edge_agent.daemon.worker import Threads
from edge_agent.errors import EXIT_RESTART, ArtifactError, EdgeAgentError
from edge_agent.inference.choice import choose_here
from edge_agent.inference.fit import check_floor
from edge_agent.inference.loading import LoadedModel, accept, label_map, load_model, warm_up
from edge_agent.install.store import ModelStore
from edge_agent.memory.budget import BudgetMonitor, BudgetPolicy
from edge_agent.memory.costs import SubsystemCosts
from edge_agent.memory.guard import MemoryGuard
from edge_agent.memory.limits import BudgetLimits
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.room import BudgetRoom, Room
from edge_agent.memory.trim import SystemLibc, Trimmer, tune_allocator
from edge_agent.model.sidecar import read_sidecar
from edge_agent.mqtt.contract.homeassistant import Identity
from edge_agent.mqtt.events.outbox import open_outbox
from edge_agent.mqtt.events.sequence import SequenceNumbers
from edge_agent.mqtt.link import BrokerLink
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.rules import Rules
from edge_agent.sources import Source
from edge_agent.sources.factory import make_source
from edge_agent.system import paths
from edge_agent.system.board import Board
from edge_agent.system.clock import Clock
from edge_agent.system.lock import DirectoryLock
from edge_agent.system.log import say, say_defect
from edge_agent.system.systemd import Notifier, WatchdogGate, watchdog_interval_s
from edge_agent.system.wake import Wake

if TYPE_CHECKING:
    from edge_agent.daemon.web_agent import WebAgent

_LOG = logging.getLogger(__name__)
_SEQUENCE_FILE = "sequence"
_WANTED_FILE = "wanted.json"


def run_agent(
    config_file: Path,
    config: Config,
    *,
    clock: Clock,
    environment: Mapping[str, str] = os.environ,
    seen: Signature | None = None,
    max_frames: int | None = None,
    refused: InvalidConfigError | None = None,
    last_good: LastGood | None = None,
    board: Board | None = None,
    make_source: Callable[[SourceConfig, Room], Source] = make_source,
    budget_policy: Callable[[MemoryConfig], BudgetPolicy] = BudgetPolicy.from_config,
) -> int:
    """Run the daemon until a signal stops it, or its source ends; returns the exit code.

    `seen`: the signature of the file before `config` was read. `max_frames`: end after so many classified
    frames; None for never. `refused`: what is wrong with the file, where `config` is not from it; `last_good`
    keeps what works. `board`: None for the one that this runs on. Raises EdgeAgentError when it cannot start,
    because of another agent, the model, the budget, or a label.
    """
    board = board or Board()
    wake, gate, costs, trimmer = Wake(), WatchdogGate(), SubsystemCosts(), Trimmer()
    state_dir = paths.state_dir(environment)
    tune_allocator(SystemLibc())
    with ExitStack() as stack:
        stack.enter_context(closing(DirectoryLock(state_dir)))
        notifier = stack.enter_context(closing(Notifier.from_environment(environment)))
        watcher = stack.enter_context(closing(ConfigWatcher(config_file, open_inotify(), seen=seen)))
        costs.record("python")
        store, restart = ModelStore(state_dir, clock), PendingRestart(state_dir)
        in_use = store.begin(config.model.path)
        try:
            model = _load_within_budget(config, in_use, environment, costs, trimmer)
        except Exception as error:
            if not _can_go_back(store, error):
                raise
            restart.want(f"the model {in_use.name} cannot be used: {error}")
            return EXIT_RESTART
        signals = stack.enter_context(closing(Signals(wake)))  # not before: loading cannot be interrupted

        outbox = stack.enter_context(closing(open_outbox(config.outbox, clock, environment)))
        link = BrokerLink(
            config,
            events=outbox,
            clock=clock,
            wake=wake.ring,
            board=Identity(board.model(), board.mac()),
            environment=environment,
        )
        stack.callback(link.stop)
        costs.record("mqtt")

        numbers = SequenceNumbers(state_dir / _SEQUENCE_FILE, clock, floor=outbox.newest)
        stack.callback(numbers.close)
        frames, pace = LatestFrame(), CapturePolicy.from_config(config)
        room = BudgetRoom(lambda: live.config.memory.budget_mb)

        def new_source(source: SourceConfig) -> Source:
            return make_source(source, room)

        capture = CaptureLoop(new_source(config.source), frames, pace, gate)
        rules = Rules.from_config(config)
        runtime_dir = paths.runtime_dir(environment)

        def last_label(region: str) -> LastLabel:
            return LastLabel(state_dir, runtime_dir, region)

        loop = InferenceLoop(
            frames, model, rules, link, numbers.next, last_label, clock, gate, max_frames=max_frames
        )
        stack.callback(loop.close)

        live = LiveConfig(config_file, config, _veto(loop, store, environment, new_source), error=refused)
        steps = possible_steps(config, model)
        monitor = BudgetMonitor(budget_policy(config.memory), steps, clock.monotonic_s())
        page = OwnersPage()
        degradation = Degradation(loop, capture, lambda: live.config, new_source, page.close)
        guard = MemoryGuard(monitor, trimmer, degradation)
        memory_due = Every(config.memory.check_interval_s)
        cooling = Cooling(board, config.thermal, pace, capture.use_policy)
        costs.record("pipeline")

        teaching = Teaching(state_dir, loop, lambda: live.config, clock, link.teach, guard.trim)
        teaching.adopt()
        reason = take_reason(state_dir)
        report = Report(live, link, loop, capture, guard, cooling, board, clock, teaching, reason)
        service = Service(notifier, gate, report.status_line, watchdog_interval_s(environment))
        reloader = Reloader(
            live,
            last_good,
            restart,
            loop,
            capture,
            link,
            guard,
            memory_due,
            cooling,
            service,
            report,
            new_source,
            teaching,
        )
        models = ModelExchange(live, store, loop, report, restart, lambda: service.is_ready, environment)
        stack.callback(models.close)
        report.install = models.info
        wanted = WantedState(
            live, reloader.patch, teaching, models, report.publish_info, state_dir / _WANTED_FILE, clock
        )
        report.groups = wanted.info
        threads, errands = Threads(loop, capture, wake.ring), Errands(wake.ring)
        stack.callback(threads.stop)
        supervisor = Supervisor(
            clock,
            wake,
            signals,
            watcher,
            threads,
            loop,
            link,
            guard,
            memory_due,
            costs,
            cooling,
            service,
            report,
            reloader,
            restart,
            teaching,
            errands,
            models,
            broker_wait_s(config.source),
        )
        stack.callback(page.close)

        def web_agent() -> WebAgent:
            from edge_agent.daemon.web_agent import WebAgent

            events_dir = state_dir / "events"
            return WebAgent(
                config_file,
                live,
                link,
                loop,
                capture,
                guard,
                cooling,
                room,
                clock,
                teaching,
                errands,
                events_dir,
            )

        if config.web.enabled:
            page.open(config.web, web_agent, link, loop, state_dir, clock)
        report.publish_info()
        commands = RemoteCommands(
            live, loop, capture, watcher, reloader, restart, report.health_due, teaching, models
        )
        link.start(commands, wanted.receive)
        code = supervisor.run()
        models.ended(code)
        service.stopping()
        return code


def _can_go_back(store: ModelStore, error: Exception) -> bool:
    """Whether there is another model to start with than one from elsewhere that cannot be loaded."""
    is_on_trial = store.record.trial is not None
    if not is_on_trial and not isinstance(error, ArtifactError):
        return False
    if not isinstance(error, EdgeAgentError):
        say_defect(_LOG, "loading the model under trial has failed unexpectedly", error)
    return store.leave_damaged(str(error) or type(error).__name__)


def _load_within_budget(
    config: Config, path: Path, environment: Mapping[str, str], costs: SubsystemCosts, trimmer: Trimmer
) -> LoadedModel:
    """Load the model, and check what it takes. Raises EdgeAgentError where it cannot run here.

    A model from elsewhere must need no program of its own.
    """
    trimmer.trim()  # code that ran only once, while the modules were imported, makes room for the model
    model = load_model(
        replace(config.model, path=path),
        config.memory,
        config.labels,
        environment,
        check=accept if path == config.model.path else refuse_program,
    )
    costs.record("model")
    engine = model.engine.info
    tune_allocator(SystemLibc(), engine.engine)
    limits = BudgetLimits.from_config(config.memory)
    rss_mb = read_memory().rss_mb
    if rss_mb > limits.soft_mb:
        trimmer.trim()
        warm_up(model)
        rss_mb = read_memory().rss_mb
    measured = (model.choice.measured,) if model.choice.measured else ()
    check_floor(model.choice.name, limits, rss_mb, measured)
    say(
        _LOG,
        logging.INFO,
        f"model {model.artifact.sidecar.name}",
        engine=engine.engine,
        precision=engine.precision,
        arithmetic=engine.arithmetic,
        threads=engine.threads,
        library=engine.library,
        why=model.choice.reason,
    )
    return model


def _veto(
    loop: InferenceLoop,
    store: ModelStore,
    environment: Mapping[str, str],
    make_source: Callable[[SourceConfig], Source],
) -> Veto:
    """Refuse a configuration that is valid, but that this agent, or the next one, could not run with."""

    def veto(config: Config, changes: Changes) -> None:
        make_source(config.source)  # which opens nothing
        if Apply.RESTART in changes.kinds:
            artifact = read_sidecar(store.path_in_use(config.model.path))
            choose_here(artifact, config.model, config.memory, environment)
            label_map(artifact, config.labels)
        else:
            label_map(loop.model.artifact, config.labels)

    return veto

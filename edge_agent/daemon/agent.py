"""The daemon: puts its parts together, has them supervised, and ends them in reverse."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import field, replace
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
from edge_agent.daemon.model_exchange import ModelExchange
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
from edge_agent.install.in_use import refuse_program
from edge_agent.install.store import ModelStore
from edge_agent.lean_dataclass import dataclass
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
_EVENTS_DIR = "events"


@dataclass(frozen=True, slots=True)
class _Base:
    """What an agent is started with, as `run_agent` says, and what its parts share."""

    config_file: Path
    config: Config
    """As at the start; see `_Pipeline.live` for the present one."""
    clock: Clock
    environment: Mapping[str, str]
    max_frames: int | None
    refused: InvalidConfigError | None
    last_good: LastGood | None
    board: Board
    make_source: Callable[[SourceConfig, Room], Source]
    budget_policy: Callable[[MemoryConfig], BudgetPolicy]
    state_dir: Path
    stack: ExitStack
    """Ends the parts, the last one first; each is put there when it is made."""
    notifier: Notifier
    watcher: ConfigWatcher
    costs: SubsystemCosts
    store: ModelStore
    restart: PendingRestart
    trimmer: Trimmer = field(default_factory=Trimmer)
    wake: Wake = field(default_factory=Wake)
    gate: WatchdogGate = field(default_factory=WatchdogGate)


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """The way of a frame from the camera to the broker, and the configuration that it follows."""

    live: LiveConfig
    room: Room
    new_source: Callable[[SourceConfig], Source]
    pace: CapturePolicy
    capture: CaptureLoop
    loop: InferenceLoop
    link: BrokerLink


@dataclass(frozen=True, slots=True)
class _Care:
    """What keeps the memory within its budget, and the board cool."""

    page: OwnersPage
    """Not open yet; it is closed where memory is short."""
    guard: MemoryGuard
    memory_due: Every
    cooling: Cooling


@dataclass(frozen=True, slots=True)
class _Duties:
    """What the main thread does besides: it teaches, reports, takes over edits and models, runs errands."""

    teaching: Teaching
    report: Report
    service: Service
    reloader: Reloader
    models: ModelExchange
    wanted: WantedState
    errands: Errands


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
    costs, state_dir = SubsystemCosts(), paths.state_dir(environment)
    tune_allocator(SystemLibc())
    with ExitStack() as stack:
        stack.enter_context(closing(DirectoryLock(state_dir)))
        notifier = stack.enter_context(closing(Notifier.from_environment(environment)))
        watcher = stack.enter_context(closing(ConfigWatcher(config_file, open_inotify(), seen=seen)))
        costs.record("python")
        base = _Base(
            config_file=config_file,
            config=config,
            clock=clock,
            environment=environment,
            max_frames=max_frames,
            refused=refused,
            last_good=last_good,
            board=board or Board(),
            make_source=make_source,
            budget_policy=budget_policy,
            state_dir=state_dir,
            stack=stack,
            notifier=notifier,
            watcher=watcher,
            costs=costs,
            store=ModelStore(state_dir, clock),
            restart=PendingRestart(state_dir),
        )
        model = _load_or_go_back(base)
        return EXIT_RESTART if model is None else _run(base, model)


def _run(base: _Base, model: LoadedModel) -> int:
    """Put the other parts together, and have them supervised until the end; returns the exit code."""
    # Not before: loading cannot be interrupted.
    signals = base.stack.enter_context(closing(Signals(base.wake)))
    link, numbers = _open_link(base)
    pipeline = _pipeline(base, model, link, numbers)
    care = _care(base, pipeline)
    base.costs.record("pipeline")
    duties = _duties(base, pipeline, care)
    supervisor = _supervisor(base, signals, pipeline, care, duties)
    base.stack.callback(care.page.close)
    if base.config.web.enabled:
        _open_page(base, pipeline, care, duties)
    duties.report.publish_info()
    link.start(_remote_commands(base, pipeline, duties), duties.wanted.receive)
    code = supervisor.run()
    duties.models.ended(code)
    duties.service.stopping()
    return code


def _load_or_go_back(base: _Base) -> LoadedModel | None:
    """Load the model in use; None where the agent is to start again with the one from before."""
    in_use = base.store.begin(base.config.model.path)
    try:
        return _load_within_budget(base.config, in_use, base.environment, base.costs, base.trimmer)
    except Exception as error:
        if not _can_go_back(base.store, error):
            raise
        base.restart.want(f"the model {in_use.name} cannot be used: {error}")
        return None


def _open_link(base: _Base) -> tuple[BrokerLink, SequenceNumbers]:
    """The link to the broker, which is not connected yet, and the numbers of what it will send."""
    outbox = base.stack.enter_context(closing(open_outbox(base.config.outbox, base.clock, base.environment)))
    link = BrokerLink(
        base.config,
        events=outbox,
        clock=base.clock,
        wake=base.wake.ring,
        board=Identity(base.board.model(), base.board.mac()),
        environment=base.environment,
    )
    base.stack.callback(link.stop)
    base.costs.record("mqtt")
    numbers = SequenceNumbers(base.state_dir / _SEQUENCE_FILE, base.clock, floor=outbox.newest)
    base.stack.callback(numbers.close)
    return link, numbers


def _pipeline(base: _Base, model: LoadedModel, link: BrokerLink, numbers: SequenceNumbers) -> _Pipeline:
    config, runtime_dir = base.config, paths.runtime_dir(base.environment)
    room = BudgetRoom(lambda: live.config.memory.budget_mb)

    def new_source(source: SourceConfig) -> Source:
        return base.make_source(source, room)

    def last_label(region: str) -> LastLabel:
        return LastLabel(base.state_dir, runtime_dir, region)

    frames, pace = LatestFrame(), CapturePolicy.from_config(config)
    capture = CaptureLoop(new_source(config.source), frames, pace, base.gate)
    loop = InferenceLoop(
        frames=frames,
        model=model,
        rules=Rules.from_config(config),
        sink=link,
        next_seq=numbers.next,
        last_label=last_label,
        clock=base.clock,
        progress=base.gate,
        max_frames=base.max_frames,
    )
    base.stack.callback(loop.close)
    veto = _veto(loop, base.store, base.environment, new_source)
    live = LiveConfig(base.config_file, config, veto, error=base.refused)
    return _Pipeline(live, room, new_source, pace, capture, loop, link)


def _care(base: _Base, pipeline: _Pipeline) -> _Care:
    live, loop, capture, memory = pipeline.live, pipeline.loop, pipeline.capture, base.config.memory
    page = OwnersPage()
    degradation = Degradation(loop, capture, lambda: live.config, pipeline.new_source, page.close)
    steps = possible_steps(base.config, loop.model)
    monitor = BudgetMonitor(base.budget_policy(memory), steps, base.clock.monotonic_s())
    return _Care(
        page=page,
        guard=MemoryGuard(monitor, base.trimmer, degradation),
        memory_due=Every(memory.check_interval_s),
        cooling=Cooling(base.board, base.config.thermal, pipeline.pace, capture.use_policy),
    )


def _duties(base: _Base, pipeline: _Pipeline, care: _Care) -> _Duties:
    live, loop, link = pipeline.live, pipeline.loop, pipeline.link
    teaching = Teaching(
        base.state_dir, loop, lambda: live.config, base.clock, link.teach, give_back=care.guard.trim
    )
    teaching.adopt()
    report = Report(
        live=live,
        link=link,
        loop=loop,
        capture=pipeline.capture,
        guard=care.guard,
        cooling=care.cooling,
        board=base.board,
        clock=base.clock,
        teaching=teaching,
        restart_reason=take_reason(base.state_dir),
    )
    service = Service(base.notifier, base.gate, report.status_line, watchdog_interval_s(base.environment))
    reloader = Reloader(
        live=live,
        last_good=base.last_good,
        restart=base.restart,
        loop=loop,
        capture=pipeline.capture,
        link=link,
        guard=care.guard,
        memory_due=care.memory_due,
        cooling=care.cooling,
        service=service,
        report=report,
        make_source=pipeline.new_source,
        teaching=teaching,
    )
    models = ModelExchange(
        live=live,
        store=base.store,
        loop=loop,
        report=report,
        restart=base.restart,
        is_ready=lambda: service.is_ready,
        environment=base.environment,
    )
    base.stack.callback(models.close)
    report.install = models.info
    wanted = WantedState(
        live=live,
        patch=reloader.patch,
        heads=teaching,
        models=models,
        changed=report.publish_info,
        file=base.state_dir / _WANTED_FILE,
        clock=base.clock,
    )
    report.groups = wanted.info
    return _Duties(teaching, report, service, reloader, models, wanted, Errands(base.wake.ring))


def _supervisor(
    base: _Base, signals: Signals, pipeline: _Pipeline, care: _Care, duties: _Duties
) -> Supervisor:
    threads = Threads(pipeline.loop, pipeline.capture, base.wake.ring)
    base.stack.callback(threads.stop)
    return Supervisor(
        clock=base.clock,
        wake=base.wake,
        signals=signals,
        watcher=base.watcher,
        threads=threads,
        loop=pipeline.loop,
        link=pipeline.link,
        guard=care.guard,
        memory_due=care.memory_due,
        costs=base.costs,
        cooling=care.cooling,
        service=duties.service,
        report=duties.report,
        reloader=duties.reloader,
        restart=base.restart,
        teaching=duties.teaching,
        errands=duties.errands,
        models=duties.models,
        broker_wait_s=broker_wait_s(base.config.source),
    )


def _open_page(base: _Base, pipeline: _Pipeline, care: _Care, duties: _Duties) -> None:
    def web_agent() -> WebAgent:
        from edge_agent.daemon.web_agent import WebAgent

        return WebAgent(
            config_file=base.config_file,
            live=pipeline.live,
            link=pipeline.link,
            loop=pipeline.loop,
            capture=pipeline.capture,
            guard=care.guard,
            cooling=care.cooling,
            room=pipeline.room,
            clock=base.clock,
            teaching=duties.teaching,
            errands=duties.errands,
            events_dir=base.state_dir / _EVENTS_DIR,
        )

    care.page.open(base.config.web, web_agent, pipeline.link, pipeline.loop, base.state_dir, base.clock)


def _remote_commands(base: _Base, pipeline: _Pipeline, duties: _Duties) -> RemoteCommands:
    return RemoteCommands(
        live=pipeline.live,
        loop=pipeline.loop,
        capture=pipeline.capture,
        watcher=base.watcher,
        reloader=duties.reloader,
        pending_restart=base.restart,
        health_due=duties.report.health_due,
        teaching=duties.teaching,
        models=duties.models,
    )


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

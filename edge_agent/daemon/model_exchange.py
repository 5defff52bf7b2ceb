"""Exchanges the model for one from elsewhere: has it fetched, tries it, and goes back where it is worse.

Fetching and checking are processes of their own, which take some memory beside the agent; a model is never
loaded beside the one in use unless the budget has room for both. Nothing here waits: `work` looks each time
how far they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, field
from typing import IO, TYPE_CHECKING, Any

from edge_agent.config.live import LiveConfig
from edge_agent.daemon.report import Report
from edge_agent.daemon.restart import PendingRestart
from edge_agent.errors import EXIT_FAILURE, EdgeAgentError, ModelError
from edge_agent.inference.choice import choose_here
from edge_agent.inference.loading import label_map
from edge_agent.install.bundle import Unpacked
from edge_agent.install.in_use import refuse_program
from edge_agent.install.order import MEMORY_MB, REHEARSAL_MB, Order, longest_s
from edge_agent.install.record import Outcome, State
from edge_agent.install.store import ModelStore
from edge_agent.install.trial import START_S, Wellbeing, objections
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.budget import is_about_memory
from edge_agent.memory.limits import BudgetLimits
from edge_agent.memory.procfs import MemoryUse, read_memory
from edge_agent.model.source import ModelSource
from edge_agent.mqtt.contract.payloads import Health, InstallInfo, utc
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.system.child import python_module
from edge_agent.system.log import say
from edge_agent.system.text import printable

if TYPE_CHECKING:
    import subprocess

_LOG = logging.getLogger(__name__)
_REHEARSAL_S = 180.0
_KILL_AFTER_S = 60.0
_MOST_SAID = 1 << 16
_LONGEST_WHY = 300
_MOST_TRIES = 4


class Child:
    """A process that is given JSON and says JSON; `close` ends it."""

    def __init__(self, module: str, given: Mapping[str, Any], end_s: float) -> None:
        """It is killed where it still runs at `end_s`. Raises ModelError where it cannot be started."""
        import subprocess

        self.end_s = end_s
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                python_module(module), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            raise ModelError(f"no other process can be started: {error.strerror}") from None
        stdin = self._process.stdin
        assert stdin is not None
        try:
            with stdin:
                stdin.write(json.dumps(given).encode())
        except OSError:
            pass  # it has died, which `result` says

    def result(self, now_s: float) -> Mapping[str, Any] | None:
        """What it has said; None while it works. What has died says `error`."""
        if self._process.poll() is None:
            if now_s < self.end_s:
                return None
            self.close()
            return {"error": "it took too long", "again": True}
        return _said(self._process.stdout, self._process.returncode)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(slots=True)
class _UnderWay:
    """A model that is being fetched, or run on a picture."""

    source: ModelSource
    group: str
    child: Child
    place: str = ""
    """Where it lies, once it is unpacked."""


@dataclass(frozen=True, slots=True)
class _Again:
    """What a group gives is fetched once more at that time, on the monotonic clock."""

    source: ModelSource
    group: str
    at_s: float


@dataclass(slots=True)
class ModelExchange:
    """Used by the main thread. `close` it."""

    live: LiveConfig
    store: ModelStore
    loop: InferenceLoop
    report: Report
    restart: PendingRestart
    is_ready: Callable[[], bool]
    """Whether a frame has been classified since the start."""
    environment: Mapping[str, str]
    measure: Callable[[], MemoryUse] = read_memory
    start_child: Callable[[str, Mapping[str, Any], float], Child] = Child
    again_s: float = 60.0
    """After so long what a group gives is fetched again, where that may help; each time later."""
    _under_way: _UnderWay | None = field(init=False, default=None)
    _again: _Again | None = field(init=False, default=None)
    _tries: int = field(init=False, default=0)
    _started_s: float | None = field(init=False, default=None)
    _ready_s: float | None = field(init=False, default=None)
    _judged: Health | None = field(init=False, default=None)

    def install(self, source: ModelSource, group: str = "") -> State:
        """Begin to exchange the model; `info` says what becomes of it. `group` is empty for a request.

        Returns how far that is. Raises ModelError where it is not done, and then nothing has changed.
        """
        self._refuse_unless_possible()
        place = self.store.known(source.sha256)
        if place and place == self.store.record.in_use:
            return "installed"
        if not place:
            self._refuse_without_memory()
        self._note("downloading", source.sha256, group)
        say(_LOG, logging.INFO, "a model is fetched", server=source.address.server, group=group)
        try:
            if place:
                self._check(source, group, place)
            else:
                self._under_way = _UnderWay(source, group, self._fetch(source))
        except EdgeAgentError as error:
            self._refuse(str(error))
            raise ModelError(str(error)) from None
        self.report.publish_info()
        return self._state

    def want(self, source: ModelSource, group: str, *, once_more: bool = False) -> None:
        """Have that model, which a group gives, whatever else is under way; nothing where it is in use or on
        its way, or, `once_more`, where it was refused for good. Raises ModelError."""
        record = self.store.record
        if once_more and self.why_not(source.sha256) and record.outcome and not record.outcome.again:
            return
        place = self.store.known(source.sha256)
        is_on_its_way = self._under_way is not None and self._under_way.source.sha256 == source.sha256
        if is_on_its_way or (place and place == record.in_use):
            return
        self.close()
        if record.trial is not None:
            self.store.take_back("another model is wanted")
            self.restart.want("another model is wanted than the one under trial")
        elif self.store.is_from_before(place):
            self._note("checking", source.sha256, group, model=place)
            self.store.return_to(place)
            self.restart.want(f"the model {place} from before is in use again")
        elif not self.restart.is_wanted:  # else with the next start, when the document comes again
            self._tries = 1
            self.install(source, group)

    def is_pending(self, sha256: str) -> bool:
        """Whether the model of that bundle, which a group gives, is still missing or tried, and may stay."""
        record = self.store.record
        place = record.bundles.get(sha256, "")
        if place and place == record.in_use and record.trial is None:
            return False
        was_there = record.outcome is not None and record.outcome.sha256 == sha256
        is_installed = was_there and record.outcome is not None and record.outcome.state == "installed"
        return not is_installed and not self.why_not(sha256)

    def why_not(self, sha256: str) -> str:
        """Why the model of that bundle was refused or taken back, for good; empty where it was not."""
        outcome = self.store.record.outcome
        if outcome is None or outcome.sha256 != sha256 or self._again is not None:
            return ""
        return (outcome.why or outcome.state) if outcome.state in ("refused", "taken back") else ""

    def give_back(self) -> None:
        """Have the model again that a group has replaced, if one has. Raises ModelError."""
        why = "the group does not give it any more"
        self.close()
        self._again = None
        outcome = self.store.record.outcome
        if outcome is not None and outcome.group and outcome.state in ("downloading", "checking"):
            self._refuse(why)
        if self.store.give_back(why):
            self.restart.want("the model from before the group's is in use again")

    def work(self, now_s: float) -> None:
        """Go on with what is under way. Does not wait."""
        self._started_s = now_s if self._started_s is None else self._started_s
        if (under_way := self._under_way) is not None:
            if (said := under_way.child.result(now_s)) is not None:
                self._under_way = None
                self._go_on(under_way, said)
        elif self.store.record.trial is not None and not self.restart.is_wanted:
            self._watch(now_s, self._started_s)
        elif self._again is not None and now_s >= self._again.at_s:
            self._try_again(self._again)

    def ended(self, code: int) -> None:
        """The agent is about to end; a model that it failed with is taken back."""
        if code == EXIT_FAILURE:
            self.store.take_back("the agent has failed with it: its log says why")
        elif is_about_memory(self.restart.reason):
            self.store.take_back(self.restart.reason)

    def close(self) -> None:
        """End what is under way."""
        if self._under_way is not None:
            self._under_way.child.close()
            self._under_way = None

    def info(self) -> InstallInfo | None:
        """What became of the latest model that was asked for."""
        outcome = self.store.record.outcome
        if outcome is None:
            return None
        return InstallInfo(
            outcome.state, utc(outcome.at_s), outcome.sha256, model=outcome.model, why=outcome.why
        )

    @property
    def _state(self) -> State:
        outcome = self.store.record.outcome
        return "installed" if outcome is None else outcome.state

    def _try_again(self, again: _Again) -> None:
        self._again = None
        self._tries += 1
        try:
            self.install(again.source, again.group)
        except ModelError as error:
            self._refuse(str(error), again=True)
            self.report.publish_info()

    def _refuse_unless_possible(self) -> None:
        if not self.live.config.control.allow_model:
            raise ModelError("control.allow_model is false: this device's model is its owner's alone")
        if self._under_way is not None or self.store.record.trial is not None:
            raise ModelError("another model is being installed: `info` says when that has ended")
        if self.restart.is_wanted:
            raise ModelError("the agent is about to restart: ask again")

    def _refuse_without_memory(self) -> None:
        budget_mb, rss_mb = self.live.config.memory.budget_mb, self.measure().rss_mb
        if rss_mb + MEMORY_MB > budget_mb:
            raise ModelError(
                f"memory.budget_mb is {budget_mb:g}, and fetching takes {MEMORY_MB:.0f} MB beside the agent's"
                f" {rss_mb:.0f} MB: raise it, or use `edge-agent model install` on the device"
            )

    def _fetch(self, source: ModelSource) -> Child:
        ca_file = self.live.config.control.model_ca_file
        order = Order(
            str(source.url), source.sha256, source.bytes, str(self.store.incoming()), str(ca_file or "")
        )
        return self._child("edge_agent.install.fetch", asdict(order), longest_s(order))

    def _child(self, module: str, given: Mapping[str, Any], longest_s: float) -> Child:
        now_s = self.store.clock.monotonic_s()
        return self.start_child(module, given, now_s + longest_s + _KILL_AFTER_S)

    def _go_on(self, under_way: _UnderWay, said: Mapping[str, Any]) -> None:
        """What a process has said: the model is unpacked, or was run on a picture."""
        try:
            if "error" in said:
                may_succeed = said.get("again") is True
                if may_succeed and under_way.group and self._tries < _MOST_TRIES:
                    at_s = self.store.clock.monotonic_s() + self.again_s * self._tries
                    self._again = _Again(under_way.source, under_way.group, at_s)
                self._refuse(str(said["error"]), again=may_succeed)
            elif under_way.place:
                self._try(under_way.place, under_way.group, _heard(said))
            else:
                source, files = under_way.source, said["files"].items()
                unpacked = {name: Unpacked(**file) for name, file in files}
                self._check(source, under_way.group, self.store.accept(unpacked, source.sha256))
        except EdgeAgentError as error:
            self._refuse(str(error))
        self.report.publish_info()

    def _check(self, source: ModelSource, group: str, place: str) -> None:
        """Hold a model against configuration, host and evidence, and run it on a picture if there is room.

        Raises EdgeAgentError.
        """
        config, artifact = self.live.config, self.store.artifact(place)
        self._note("checking", source.sha256, group, model=place)
        label_map(artifact, config.labels)
        choice = choose_here(artifact, config.model, config.memory, self.environment)
        refuse_program(choice)
        if artifact.sidecar.sha256 == self.loop.model.artifact.sidecar.sha256:
            self._note("installed", source.sha256, group, model=place, why="it was in use already")
            self.store.clean()
            return
        room_mb = BudgetLimits.from_config(config.memory).soft_mb - self.measure().rss_mb
        frame = self.loop.last_frame
        if frame is None or room_mb < REHEARSAL_MB:
            why = "no frame yet" if frame is None else f"{room_mb:.0f} MB of memory are left"
            self._try(place, group, f"not run beside the one in use: {why}")
            return
        picture = self.store.incoming() / "frame.jpg"
        try:
            picture.write_bytes(encode_jpeg(frame.pixels, 90))
        except OSError as error:
            raise ModelError(f"{picture}: cannot be written: {error.strerror}") from None
        given = {
            "model": str(artifact.directory),
            "engine": choice.engine,
            "precision": choice.precision,
            "threads": choice.threads,
            "arithmetic": choice.arithmetic,
            "picture": str(picture),
            "room_mb": room_mb,
        }
        child = self._child("edge_agent.install.rehearse", given, _REHEARSAL_S)
        self._under_way = _UnderWay(source, group, child, place)

    def _try(self, place: str, group: str, why: str) -> None:
        """Restart with the model, to be tried for a while. Raises ModelError."""
        outcome = self.store.record.outcome
        if outcome is not None:
            self._note(outcome.state, outcome.sha256, group, model=place, why=why)
        self.store.begin_trial(self.live.config.model.path, place, self._wellbeing(self.report.latest), group)
        self.restart.want(f"the model {place}, which came over MQTT, is tried")

    def _watch(self, now_s: float, started_s: float) -> None:
        """Follow the model under trial: it ends, or goes on."""
        trial = self.store.record.trial
        assert trial is not None
        if self._ready_s is None:
            if self.is_ready():
                # The `health` of the first frame is not judged: its votes were not complete.
                self._ready_s, self._judged = now_s, self.report.latest
            elif now_s - started_s > START_S:
                self._take_back(f"it has classified no frame within {START_S:.0f} s")
            return
        health = self.report.latest
        if health is not self._judged:
            self._judged = health
            if found := objections(trial.before, self._wellbeing(health)):
                self._take_back("; ".join(found))
                return
        if now_s - self._ready_s >= self.live.config.control.model_watch_s:
            self.store.finish()
            say(_LOG, logging.INFO, "the model is no worse, and stays", model=self.store.record.in_use)
            self.report.publish_info()

    def _take_back(self, why: str) -> None:
        self.store.take_back(why)
        self.report.publish_info()
        self.restart.want(f"the model is worse: {why}")

    def _wellbeing(self, health: Health | None) -> Wellbeing:
        if health is None:
            return Wellbeing()
        return Wellbeing(health.camera.state, health.memory.state, health.unknown_percent)

    def _refuse(self, why: str, *, again: bool = False) -> None:
        say(_LOG, logging.WARNING, f"the model is refused: {printable(why, _LONGEST_WHY)}")
        if (outcome := self.store.record.outcome) is not None:
            self._note("refused", outcome.sha256, outcome.group, model=outcome.model, why=why, again=again)
        self.store.clean()

    def _note(
        self, state: State, sha256: str, group: str, *, model: str = "", why: str = "", again: bool = False
    ) -> None:
        at_s = self.store.clock.time_s()
        self.store.note(Outcome(state, sha256, at_s, model, printable(why, _LONGEST_WHY), group, again))


def _said(stdout: IO[bytes] | None, code: int) -> Mapping[str, Any]:
    assert stdout is not None
    with stdout:
        said = stdout.read(_MOST_SAID)
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    how = f"by signal {-code}" if code < 0 else f"with {code}"
    return {"error": f"the process that was to do it has ended {how}: the log may say why", "again": code < 0}


def _heard(said: Mapping[str, Any]) -> str:
    """What a model said of the newest frame, or why it was not asked."""
    if "said" in said:
        return f"of the newest frame it says {printable(str(said['said']), 100)}"
    return f"not run beside the one in use: {printable(str(said.get('skipped')), 150)}"

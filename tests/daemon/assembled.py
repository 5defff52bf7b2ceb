"""The agent's real parts, with fakes where it meets the world: camera, engine, broker, memory and time."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from edge_agent.config.last_good import LastGood
from edge_agent.config.live import LiveConfig
from edge_agent.config.loader import load
from edge_agent.config.schema import Config, SourceConfig
from edge_agent.config.watch import ConfigWatcher
from edge_agent.daemon.cooling import Cooling
from edge_agent.daemon.degrade import Degradation, possible_steps
from edge_agent.daemon.errands import Errands
from edge_agent.daemon.model_exchange import Child, ModelExchange
from edge_agent.daemon.reload import Reloader
from edge_agent.daemon.report import Report
from edge_agent.daemon.restart import PendingRestart
from edge_agent.daemon.schedule import Every
from edge_agent.daemon.service import Service
from edge_agent.daemon.signals import Signals
from edge_agent.daemon.supervisor import Supervisor
from edge_agent.daemon.teaching import Teaching
from edge_agent.daemon.worker import Threads
from edge_agent.frame import Frame
from edge_agent.inference import EngineInfo
from edge_agent.inference.choice import Choice
from edge_agent.inference.classifier import Classifier
from edge_agent.inference.loading import LoadedModel
from edge_agent.install.store import ModelStore
from edge_agent.memory.budget import BudgetMonitor, BudgetPolicy
from edge_agent.memory.costs import SubsystemCosts
from edge_agent.memory.guard import MemoryGuard
from edge_agent.memory.procfs import MemoryUse
from edge_agent.memory.trim import Trimmer
from edge_agent.model.sidecar import Artifact, ArtifactFile, Preprocessing, Sidecar, WeightsOrigin
from edge_agent.mqtt.contract.payloads import EventImageInfo, Health, Info, LabelChanged, RawPrediction, State
from edge_agent.mqtt.link import BrokerLink
from edge_agent.mqtt.requests import Commands
from edge_agent.mqtt.wire.status import BrokerStatus
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.rules import Rules
from edge_agent.sources import Source
from edge_agent.system.board import Board
from edge_agent.system.systemd import Notifier, WatchdogGate
from edge_agent.system.wake import Wake
from tests.clock import FakeClock
from tests.memory.libc import FakeLibc
from tests.sources.helpers import ScriptedSource, frame

LABELS = ("cat", "dog", "mug")
SIDECAR = Sidecar(
    name="tiny",
    arch="tiny",
    created="2025-01-01T00:00:00Z",
    torch_version="2.9.1",
    weights=WeightsOrigin("test", "0" * 64),
    preprocessing=Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    labels=LABELS,
    files={
        role: (ArtifactFile("a", 1, "0" * 64),)
        for role in ("xnnpack-fp16", "xnnpack-fp32", "torchscript-fp32")
    },
    sha256="abc",
)


class FakeEngine:
    """Sees the same thing in every picture."""

    def __init__(self, label: str = "cat") -> None:
        self.info = EngineInfo("xnnpack", "fp32", "fp32", 1, "none")
        self.closed = False
        self.can_stream = True
        self.features = np.arange(4, dtype=np.float32)
        self._logits = np.where(np.array(LABELS) == label, np.float32(5), np.float32(0))

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        assert tensor.shape == (1, 8, 8, 3)
        assert not self.closed
        return self._logits

    def stream(self) -> None:
        self.can_stream = False

    def close(self) -> None:
        self.closed = True


def fake_model(label: str = "cat", **choice: Any) -> LoadedModel:
    """A model that always answers `label`."""
    artifact, engine = Artifact(Path("/nowhere"), SIDECAR), FakeEngine(label)
    chosen = replace(Choice("xnnpack", "fp32", 1, "configured", "as configured"), **choice)
    return LoadedModel(artifact, chosen, engine, Classifier.from_artifact(artifact, engine))


class RecordingLink(BrokerLink):
    """A link whose connection the test makes and breaks; keeps what is published."""

    def __init__(self) -> None:
        self.broker = BrokerStatus(connected=True, protocol="5")
        self.states: list[State] = []
        self.events: list[LabelChanged] = []
        self.infos: list[Info] = []
        self.healths: list[Health] = []
        self.followed: list[Config] = []
        self.connected_to: list[Config] = []
        self.rounds = 0

    @property
    def status(self) -> BrokerStatus:
        return self.broker

    def start(self, commands: Commands, on_wanted: Callable[[str, bytes], None] | None = None) -> None:
        raise AssertionError(f"not asked for: {commands}, {on_wanted}")

    def stop(self) -> None: ...

    def reconnect(self, config: Config) -> None:
        self.connected_to.append(config)

    def adopt(self, config: Config) -> None:
        self.followed.append(config)

    def carry_out_requests(self) -> None:
        self.rounds += 1

    def publish_state(self, state: State) -> None:
        self.states.append(state)

    def publish_event(self, changed: LabelChanged) -> None:
        self.events.append(changed)

    def publish_prediction(self, prediction: RawPrediction) -> None:
        raise AssertionError(f"not asked for: {prediction}")

    def publish_image(self, jpeg: bytes) -> None: ...

    def publish_event_image(self, jpeg: bytes, info: EventImageInfo) -> None: ...

    def publish_info(self, info: Info) -> None:
        self.infos.append(info)

    def publish_health(self, health: Health) -> None:
        self.healths.append(health)


class FakeChild(Child):
    """A process that says what the test makes it say."""

    def __init__(self, module: str, given: Mapping[str, Any], end_s: float) -> None:
        self.module, self.given, self.end_s = module, given, end_s
        self.said: Mapping[str, Any] | None = None
        self.closed = False

    def result(self, now_s: float) -> Mapping[str, Any] | None:
        return self.said if now_s < self.end_s else {"error": "it took too long"}

    def close(self) -> None:
        self.closed = True


class FakeThreads(Threads):
    """Threads that do not run: the test takes their part."""

    def __init__(self) -> None:
        self.started = 0
        self.code: int | None = None

    def start(self) -> None:
        self.started += 1

    def exit_code(self) -> int | None:
        return self.code


@dataclass
class Cameras:
    """Makes sources that end at once, and remembers for which settings."""

    made: list[SourceConfig] = field(default_factory=list)

    def make(self, config: SourceConfig) -> Source:
        self.made.append(config)
        return ScriptedSource([], lambda: 0.0, name=config.type)


class Assembled:
    """One agent. `clock`, `rss_mb`, `link.broker` and the configuration file are the test's to change."""

    def __init__(
        self,
        directory: Path,
        settings: dict[str, Any],
        *,
        watchdog_s: float | None = None,
        restart_reason: str = "the last one",
    ) -> None:
        self.restart_reason = restart_reason
        self.file = directory / "edge-agent.yaml"
        self.settings: dict[str, Any] = {}
        self.edit(settings)
        self.state_dir = directory / "state"
        self.clock = FakeClock()
        self.rss_mb = 50.0
        self.link = RecordingLink()
        self.threads = FakeThreads()
        self.cameras = Cameras()
        self.gate = WatchdogGate()
        self.config = load(self.file)
        self.model = fake_model()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.manager.bind(str(directory / "notify"))
        self._messages: list[str] = []
        self.notifier = Notifier(str(directory / "notify"))
        self.wake = Wake()
        self.signals = Signals(self.wake)
        self._number = itertools.count(1)
        self._assemble(directory, watchdog_s)

    def _assemble(self, directory: Path, watchdog_s: float | None) -> None:
        config, clock = self.config, self.clock
        pace = CapturePolicy.from_config(config)
        self.capture = CaptureLoop(self.cameras.make(config.source), LatestFrame(), pace, self.gate)
        self.slot = LatestFrame()
        rules = Rules.from_config(config)
        self.loop = InferenceLoop(
            self.slot,
            self.model,
            rules,
            self.link,
            lambda: next(self._number),
            lambda region: LastLabel(directory, None, region),
            clock,
            self.gate,
        )
        self.live = LiveConfig(self.file, config)
        steps = possible_steps(config, self.model)
        monitor = BudgetMonitor(BudgetPolicy.from_config(config.memory), steps, clock.monotonic_s())
        degradation = Degradation(self.loop, self.capture, lambda: self.live.config, self.cameras.make)
        trimmer = Trimmer(FakeLibc(), tuple, self._measure)
        self.guard = MemoryGuard(monitor, trimmer, degradation, self._measure, clock.monotonic_s)
        self.memory_due = Every(config.memory.check_interval_s)
        self.paces: list[CapturePolicy] = []
        self.cooling = Cooling(Board(directory), config.thermal, pace, self.paces.append)
        self.taught: list[dict[str, tuple[str, ...]]] = []
        self.teaching = Teaching(
            self.state_dir,
            self.loop,
            lambda: self.live.config,
            clock,
            lambda labels: self.taught.append(dict(labels)),
            self.guard.trim,
        )
        self.report = Report(
            self.live,
            self.link,
            self.loop,
            self.capture,
            self.guard,
            self.cooling,
            Board(directory),
            clock,
            self.teaching,
            self.restart_reason,
        )
        self.service = Service(self.notifier, self.gate, self.report.status_line, watchdog_s)
        self.restart = PendingRestart(self.state_dir)
        self.last_good = directory / "last-good.yaml"
        self.watcher = ConfigWatcher(self.file, None, settle_s=0.5, clock=clock)
        self.reloader = Reloader(
            self.live,
            LastGood(self.last_good, self.file),
            self.restart,
            self.loop,
            self.capture,
            self.link,
            self.guard,
            self.memory_due,
            self.cooling,
            self.service,
            self.report,
            self.cameras.make,
            self.teaching,
        )
        self.children: list[FakeChild] = []
        self.models = ModelExchange(
            self.live,
            ModelStore(self.state_dir, clock),
            self.loop,
            self.report,
            self.restart,
            lambda: self.service.is_ready,
            {},
            self._measure,
            self._start_child,
        )
        self.report.install = self.models.info
        self.supervisor = Supervisor(
            clock,
            self.wake,
            self.signals,
            self.watcher,
            self.threads,
            self.loop,
            self.link,
            self.guard,
            self.memory_due,
            SubsystemCosts(self._measure),
            self.cooling,
            self.service,
            self.report,
            self.reloader,
            self.restart,
            self.teaching,
            Errands(self.wake.ring),
            self.models,
            5.0,
        )

    def close(self) -> None:
        self.signals.close()
        self.notifier.close()
        self.manager.close()

    def edit(self, changes: dict[str, Any]) -> None:
        """Change some sections of the file."""
        for section, values in changes.items():
            nested = isinstance(values, dict)
            self.settings[section] = self.settings.get(section, {}) | values if nested else values
        self.file.write_text(yaml.safe_dump(self.settings))

    def classify(self, frames: int = 1) -> None:
        """Let so many frames through, a second apart."""
        for _ in range(frames):
            self.clock.advance(1.0)
            self.gate.captured()
            self.loop.process(self._frame())

    def _frame(self) -> Frame:
        return frame(next(self._number), self.clock.now_s - 0.05)

    def do_actions(self) -> None:
        """Let the inference thread's part of a change happen."""
        self.slot.close()
        self.loop.run()

    def rounds(
        self, seconds: float, step_s: float = 1.0, *, do: Callable[[], None] = lambda: None
    ) -> int | None:
        """The main loop for so long, a round each `step_s`; returns the exit code where it ends."""
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            do()
            code = self.supervisor.round()
            self._listen()  # the socket's queue is short, and a full one makes the sender wait
            if code is not None:
                return code
        return None

    def heard(self) -> list[str]:
        """The messages to the service manager since the last call."""
        self._listen()
        messages, self._messages = self._messages, []
        return messages

    def _listen(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._messages.append(self.manager.recv(4096).decode())

    def _start_child(self, module: str, given: Mapping[str, Any], end_s: float) -> FakeChild:
        self.children.append(FakeChild(module, given, end_s))
        return self.children[-1]

    def _measure(self) -> MemoryUse:
        return MemoryUse(self.rss_mb, self.rss_mb, 0, self.rss_mb)

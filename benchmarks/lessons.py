"""Measures what teaching costs the running agent: memory, and how long frames wait while a head is fitted.

  python -m benchmarks.lessons --model DIR [--frames 300] [--labels 10] [--examples 50] [--runs 3] [--periods]

Runs the whole daemon on a folder of pictures, in turn without anything taught and with so many labels of so
many examples each, of which one more is taught by a request after half of the frames: what is fitted and
reported then counts in the peak. With --periods there are heads of their own by day and at night besides, of
half of the examples each. Prints both, and the frames' ages (capture to answer) before and during the
fit.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.daemon import mosquitto, python_of_service
from edge_agent.inference.native.engine import NativeEngine
from edge_agent.inference.preprocess import Preprocessor
from edge_agent.memory.procfs import MemoryUse, read_memory
from edge_agent.model.sidecar import read_sidecar
from edge_agent.pipeline.shots import backbone_of
from edge_agent.sources.picture import read_picture
from edge_agent.system import paths
from edge_agent.teach.examples import Limits
from edge_agent.teach.lessons import Lessons, Shot, directory_of
from edge_agent.tools.demo.bundled import PICTURES_DIR

_HOST = "127.0.0.1"
_TOPIC = "edge_agent/bench"
_LONGEST_S = 300.0
_SPREAD = 0.15  # of an example around its label's first one, in the length of that
_FIT_S = 3.0  # after a lesson: more than any fit takes
_FRAMES = 200
_PERIODS = {name: {"light": name} for name in ("day", "night")}

Kind = Literal["without", "taught", "periods"]
"""Nothing taught, taught, or taught with a head for each of _PERIODS besides."""


@dataclass(frozen=True, slots=True)
class Taught:
    """One run of the agent."""

    kind: Kind
    steady_mb: float
    """The median over the last sixth of the frames, when whatever was fitted is done."""
    anon_mb: float
    """What of that is the process's own, and no page of a file."""
    peak_mb: float
    age_p50_ms: float
    """From capture to answer, before the lesson."""
    age_p95_ms: float
    fitting_p50_ms: float
    """The same in the seconds after it."""
    fitting_p95_ms: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The daemon without anything taught, and with it or with heads of periods; medians."""

    without_mb: float
    without_own_mb: float
    without_peak_mb: float
    with_mb: float
    with_own_mb: float
    with_peak_mb: float

    @property
    def added_mb(self) -> float:
        """What teaching adds while nothing is learnt."""
        return self.with_mb - self.without_mb

    @property
    def own_mb(self) -> float:
        """What of that is the process's own, and no page of a file."""
        return self.with_own_mb - self.without_own_mb

    @property
    def added_at_peak_mb(self) -> float:
        """What it adds to the most that the process ever takes (VmHWM): the start, a fit and a report."""
        return self.with_peak_mb - self.without_peak_mb


@dataclass(slots=True)
class Watcher:
    """Sees each state, and when it came."""

    ages: list[tuple[float, float]] = field(default_factory=list)
    """The time in seconds, and the frame's age in milliseconds."""

    def see(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.ages.append((time.monotonic(), json.loads(message.payload)["frame"]["age_ms"]))


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    model = paths.find_model(args.model, os.environ)
    kind: Kind = "periods" if args.periods else "taught"
    runs = _runs(args, model, ("without", kind))
    for run in runs:
        print(json.dumps(asdict(run)))
    found = _memory(runs, kind)
    print(f"steady: {found.added_mb:+.1f} MB by teaching, {found.own_mb:+.1f} MB of it the agent's own")
    print(f"at the peak: {found.added_at_peak_mb:+.1f} MB")
    slower = median(run.fitting_p95_ms / run.age_p95_ms for run in runs if run.kind == kind)
    print(f"age of frames while a head is fitted: {slower:.2f} times that before, at the 95th percentile")
    return 0


def memory(model: Path, runs: int, labels: int, examples: int) -> tuple[Memory, Memory]:
    """What so many labels of so many examples add to the daemon with this model: by themselves, and with
    heads of periods. A minute and a half for each run."""
    arguments = ["--frames", str(_FRAMES), "--labels", str(labels), "--examples", str(examples)]
    args = _parser().parse_args([*arguments, "--runs", str(runs)])
    found = _runs(args, model, ("without", "taught", "periods"))
    return _memory(found, "taught"), _memory(found, "periods")


def _runs(args: argparse.Namespace, model: Path, kinds: Sequence[Kind]) -> list[Taught]:
    with tempfile.TemporaryDirectory(prefix="edge-agent-compiled-") as compiled:
        python = python_of_service(Path(compiled))
        return [_measure(args, model, kind, python) for _ in range(args.runs) for kind in kinds]


def _memory(runs: Sequence[Taught], kind: Kind) -> Memory:
    return Memory(*_medians(runs, "without"), *_medians(runs, kind))


def _medians(runs: Sequence[Taught], kind: Kind) -> tuple[float, float, float]:
    some = [run for run in runs if run.kind == kind]
    return (
        median(run.steady_mb for run in some),
        median(run.anon_mb for run in some),
        median(run.peak_mb for run in some),
    )


def _measure(args: argparse.Namespace, model: Path, kind: Kind, python: Sequence[str]) -> Taught:
    with tempfile.TemporaryDirectory(prefix="edge-agent-lessons-") as directory:
        state = Path(directory)
        if kind != "without":
            _teach(args, model, state)
        with mosquitto(state) as port:
            settings = state / "edge-agent.yaml"
            settings.write_text(json.dumps(_settings(args, model, port, kind)))  # JSON is YAML
            return _run(args.frames, settings, port, kind, python)


def _teach(args: argparse.Namespace, model: Path, state: Path) -> None:
    """Make examples of each label out of a picture's real feature, with noise, in bursts of five.

    Every second burst is at night.
    """
    artifact = read_sidecar(model)
    engine = NativeEngine.load(artifact, "fp16", threads=1, directories=[model, state])
    preprocess = Preprocessor(artifact.sidecar.preprocessing)
    random = np.random.default_rng(1)
    pictures = [read_picture(path) for path in sorted(args.images.glob("*.jpg"))]
    backbone = backbone_of(artifact, engine.info, engine.features.size)
    limits = Limits(args.labels, args.examples, args.labels * args.examples)
    lessons = Lessons(directory_of(state), backbone, limits=limits)
    for number in range(args.labels):
        engine.run(preprocess(np.roll(pictures[number % len(pictures)], 37 * number, axis=1)))
        first = engine.features.copy()
        scale = _SPREAD * float(np.sqrt(first @ first / first.size))
        noisy = [first + random.normal(0, scale, first.size) for _ in range(args.examples)]
        shots = [
            Shot(each.astype(np.float16), 1e9 + 600 * (place // 5) + place, 20.0 if place // 5 % 2 else 120.0)
            for place, each in enumerate(noisy)
        ]
        lessons.add(f"label {number}", shots)
    engine.close()


def _run(frames: int, settings: Path, port: int, kind: Kind, python: Sequence[str]) -> Taught:
    watcher, client = Watcher(), Client(CallbackAPIVersion.VERSION2)
    client.on_message = watcher.see
    client.connect(_HOST, port)
    client.subscribe(f"{_TOPIC}/state", qos=1)
    client.loop_start()
    environment = os.environ | {"STATE_DIRECTORY": str(settings.parent), "OPENBLAS_NUM_THREADS": "1"}
    command = [*python, "-m", "edge_agent", "run", "--config", str(settings)]
    agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        samples: list[MemoryUse] = []
        lesson_s = 0.0
        deadline_s = time.monotonic() + _LONGEST_S
        while len(watcher.ages) < frames or time.monotonic() < lesson_s + _FIT_S:
            if agent.poll() is not None or time.monotonic() > deadline_s:
                sys.exit("the agent ended, or published nothing")
            time.sleep(0.1)
            if 2 * len(watcher.ages) < frames:
                continue
            samples.append(read_memory(agent.pid))
            if kind != "without" and not lesson_s:
                client.publish(f"{_TOPIC}/request/teach/add", json.dumps({"label": "label 0"}))
                lesson_s = time.monotonic()
        peak_mb = read_memory(agent.pid).peak_mb
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(timeout=30)
        client.disconnect()
        client.loop_stop()
    lesson_s = lesson_s or time.monotonic()
    before = [age_ms for when_s, age_ms in watcher.ages[10:] if when_s < lesson_s]
    after = [age_ms for when_s, age_ms in watcher.ages if lesson_s <= when_s < lesson_s + _FIT_S] or before
    last = samples[-(len(samples) // 3) :]
    steady = median(use.rss_mb for use in last), median(use.anon_mb for use in last)
    return Taught(kind, *steady, peak_mb, *_percentiles(before), *_percentiles(after))


def _percentiles(ages_ms: Sequence[float]) -> tuple[float, float]:
    p50, p95 = np.percentile(ages_ms, [50, 95])
    return round(float(p50), 1), round(float(p95), 1)


def _settings(args: argparse.Namespace, model: Path, port: int, kind: Kind) -> dict[str, Any]:
    return {
        "device_id": "bench",
        "source": {"type": "folder", "fps": 10, "folder": {"path": str(args.images), "loop": True}},
        "model": {"path": str(model), "engine": "native", "precision": "fp16"},
        "memory": {"budget_mb": 512},
        "control": {"enabled": True},
        "periods": _PERIODS if kind == "periods" else {},
        "teach": {"per_label": args.examples + 1, "in_all": args.labels * args.examples + 1},
        "mqtt": {"host": _HOST, "port": port},
        "log": {"level": "warning"},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lessons",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="DIR", type=Path, help="a model directory (default: the installed one)")
    add("--images", metavar="DIR", type=Path, default=PICTURES_DIR, help="pictures (default: bundled)")
    add("--frames", metavar="N", type=int, default=300, help="frames to see in each run (default: 300)")
    add("--labels", metavar="N", type=int, default=10, help="labels that are taught (default: 10)")
    add("--examples", metavar="N", type=int, default=50, help="examples of each (default: 50)")
    add("--runs", metavar="N", type=int, default=3, help="runs of each kind (default: 3)")
    add("--periods", action="store_true", help="with heads of their own by day and at night besides")
    return parser


if __name__ == "__main__":
    sys.exit(main())

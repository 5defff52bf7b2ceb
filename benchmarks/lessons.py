"""Measures what teaching costs the running agent: memory, and how long frames wait while a head is fitted.

  python -m benchmarks.lessons --model DIR [--frames 300] [--labels 10] [--examples 50] [--runs 3]

Runs the whole daemon on a folder of pictures, in turn without anything taught and with so many labels of so
many examples each, of which one more is taught by a request after half of the frames: what is fitted and
reported then counts in the peak. Prints both, and the frames' ages (capture to answer) before and during the
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

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.daemon import mosquitto
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


@dataclass(frozen=True, slots=True)
class Taught:
    """One run of the agent."""

    is_taught: bool
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
    """The daemon without anything taught, and with it; medians."""

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
    runs = _runs(args, model)
    for run in runs:
        print(json.dumps(asdict(run)))
    found = Memory(*_medians(runs, is_taught=False), *_medians(runs, is_taught=True))
    print(f"steady: {found.added_mb:+.1f} MB by teaching, {found.own_mb:+.1f} MB of it the agent's own")
    print(f"at the peak: {found.added_at_peak_mb:+.1f} MB")
    slower = median(run.fitting_p95_ms / run.age_p95_ms for run in runs if run.is_taught)
    print(f"age of frames while a head is fitted: {slower:.2f} times that before, at the 95th percentile")
    return 0


def memory(model: Path, runs: int, labels: int, examples: int) -> Memory:
    """What so many labels of so many examples add to the daemon with this model; a minute for each run."""
    arguments = ["--frames", str(_FRAMES), "--labels", str(labels), "--examples", str(examples)]
    found = _runs(_parser().parse_args([*arguments, "--runs", str(runs)]), model)
    return Memory(*_medians(found, is_taught=False), *_medians(found, is_taught=True))


def _runs(args: argparse.Namespace, model: Path) -> list[Taught]:
    return [_measure(args, model, is_taught) for _ in range(args.runs) for is_taught in (False, True)]


def _medians(runs: Sequence[Taught], *, is_taught: bool) -> tuple[float, float, float]:
    some = [run for run in runs if run.is_taught is is_taught]
    return (
        median(run.steady_mb for run in some),
        median(run.anon_mb for run in some),
        median(run.peak_mb for run in some),
    )


def _measure(args: argparse.Namespace, model: Path, is_taught: bool) -> Taught:
    with tempfile.TemporaryDirectory(prefix="edge-agent-lessons-") as directory:
        state = Path(directory)
        if is_taught:
            _teach(args, model, state)
        with mosquitto(state) as port:
            return _run(args, model, state, port, is_taught=is_taught)


def _teach(args: argparse.Namespace, model: Path, state: Path) -> None:
    """Make examples of each label out of a picture's real feature, with noise, in bursts of five."""
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
            Shot(each.astype(np.float16), 1e9 + 600 * (place // 5) + place, 120.0, b"")
            for place, each in enumerate(noisy)
        ]
        lessons.add(f"label {number}", shots)
    engine.close()


def _run(args: argparse.Namespace, model: Path, state: Path, port: int, *, is_taught: bool) -> Taught:
    settings = state / "edge-agent.yaml"
    settings.write_text(json.dumps(_settings(args, model, port)))  # JSON is YAML
    watcher, client = Watcher(), Client(CallbackAPIVersion.VERSION2)
    client.on_message = watcher.see
    client.connect(_HOST, port)
    client.subscribe(f"{_TOPIC}/state", qos=1)
    client.loop_start()
    # As the service has it.
    environment = os.environ | {"STATE_DIRECTORY": str(state), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(settings)]
    agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        samples: list[MemoryUse] = []
        lesson_s = 0.0
        deadline_s = time.monotonic() + _LONGEST_S
        while len(watcher.ages) < args.frames or time.monotonic() < lesson_s + _FIT_S:
            if agent.poll() is not None or time.monotonic() > deadline_s:
                sys.exit("the agent ended, or published nothing")
            time.sleep(0.1)
            if 2 * len(watcher.ages) < args.frames:
                continue
            samples.append(read_memory(agent.pid))
            if is_taught and not lesson_s:
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
    return Taught(is_taught, *steady, peak_mb, *_percentiles(before), *_percentiles(after))


def _percentiles(ages_ms: Sequence[float]) -> tuple[float, float]:
    p50, p95 = np.percentile(ages_ms, [50, 95])
    return round(float(p50), 1), round(float(p95), 1)


def _settings(args: argparse.Namespace, model: Path, port: int) -> dict[str, object]:
    return {
        "device_id": "bench",
        "source": {"type": "folder", "fps": 10, "folder": {"path": str(args.images), "loop": True}},
        "model": {"path": str(model), "engine": "native", "precision": "fp16"},
        "memory": {"budget_mb": 512},
        "control": {"enabled": True},
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
    return parser


if __name__ == "__main__":
    sys.exit(main())

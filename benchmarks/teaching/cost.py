"""What teaching costs: resident memory of a fresh process with it and without, and the time of a fit."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.teaching.features import SceneFeatures

LABELS, OF_EACH = 10, 50

_CHILD = """
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from edge_agent.memory.procfs import read_memory
from edge_agent.memory.trim import SystemLibc, tune_allocator
from edge_agent.system.lean_imports import import_paho

tune_allocator(SystemLibc(), "native")  # as the daemon does
import_paho({}, tls=False)
import edge_agent.daemon.agent
from edge_agent.inference.native.engine import NativeEngine
from edge_agent.model.sidecar import read_sidecar

model, packed, file, labels, of_each, is_taught = sys.argv[1:]
engine = NativeEngine.load(read_sidecar(Path(model)), "fp16", threads=1, directories=[Path(packed)])
engine.run(np.ones((1, 224, 224, 3), np.float32))
np.ones((8, 8), np.float32) @ np.ones((8, 8), np.float32)  # the library that multiplies, once
size, found = len(engine.features), {"seconds": 0.0, "longest_ms": 0.0, "slices": 0}
if int(is_taught):
    from edge_agent.teach import fitting, report
    from edge_agent.teach.examples import Example, Examples, Limits
    from edge_agent.teach.head import Backbone

    examples = Examples(Limits(duplicate=2.0))
    with open(file, "rb") as features:
        for label in range(int(labels)):
            for number in range(int(of_each)):
                row = np.frombuffer(features.read(2 * size), np.float16)
                examples.add(Example(f"label {label}", row, 1e9 + 40.0 * number, 100.0, number // 5))
    times = [time.perf_counter()]
    slices = fitting.fitting(examples, Backbone("ab" * 32, "native-fp32", size))
    while True:
        try:
            next(slices)
        except StopIteration as end:
            made = end.value
            break
        finally:
            times.append(time.perf_counter())
    steps = [later - earlier for earlier, later in pairwise(times)]
    found = {"seconds": sum(steps), "longest_ms": 1e3 * max(steps), "slices": len(steps)}
    assert report.report(examples, made).judged == int(labels) * int(of_each)
    made.head.answer(engine.features)
memory = read_memory()
print(json.dumps({**found, "rss_mb": memory.rss_mb, "anon_mb": memory.anon_mb}))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of LABELS labels with OF_EACH examples; medians over fresh processes."""

    features: int
    without_mb: float
    """VmRSS of a process with the daemon's modules and the network, which has seen one picture."""
    with_mb: float
    """The same, with the examples, after a fit, a report and an answer."""
    own_mb: float
    """What of the difference is the process's own, and no page of a library (RssAnon)."""
    seconds: float
    longest_ms: float
    """The longest time between two places where a fit lets a frame through."""
    slices: int

    @property
    def added_mb(self) -> float:
        return self.with_mb - self.without_mb


def measure(scenes: Sequence[SceneFeatures], model: Path, work: Path, repeats: int) -> Cost:
    """Measure with examples of these scenes. Raises CalledProcessError where a process fails."""
    rows = np.concatenate([part.region for seen in scenes for part in (seen.taught, seen.judged)])
    wanted = LABELS * OF_EACH
    file = work / "rows.f16"
    np.resize(rows, (wanted, rows.shape[1])).tofile(file)
    plain = [_run(model, work, file, is_taught=False) for _ in range(repeats)]
    full = [_run(model, work, file, is_taught=True) for _ in range(repeats)]

    def median(runs: Sequence[dict[str, float]], key: str) -> float:
        return statistics.median(run[key] for run in runs)

    return Cost(
        features=rows.shape[1],
        without_mb=median(plain, "rss_mb"),
        with_mb=median(full, "rss_mb"),
        own_mb=median(full, "anon_mb") - median(plain, "anon_mb"),
        seconds=median(full, "seconds"),
        longest_ms=median(full, "longest_ms"),
        slices=int(median(full, "slices")),
    )


def _run(model: Path, work: Path, file: Path, *, is_taught: bool) -> dict[str, float]:
    arguments = [str(model), str(work), str(file), str(LABELS), str(OF_EACH), str(int(is_taught))]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as the service has it
    command = [sys.executable, "-c", _CHILD, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured

"""What teaching costs: resident memory of the whole daemon with it and without, and the time of a fit."""

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

from benchmarks import lessons
from benchmarks.lessons import Memory
from benchmarks.teaching.features import SceneFeatures

LABELS, OF_EACH = 10, 50

_CHILD = """
import json
import sys
import time
from itertools import pairwise

import numpy as np

from edge_agent.teach import fitting, report
from edge_agent.teach.examples import Example, Examples, Limits
from edge_agent.teach.head import Backbone

file, size, labels, of_each = sys.argv[1], *map(int, sys.argv[2:])
examples = Examples(Limits(duplicate=2.0))
with open(file, "rb") as features:
    for label in range(labels):
        for number in range(of_each):
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
assert report.report(examples, made).judged == labels * of_each
print(json.dumps({"seconds": sum(steps), "longest_ms": 1e3 * max(steps), "slices": len(steps)}))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of LABELS labels with OF_EACH examples; medians over fresh processes."""

    features: int
    seconds: float
    longest_ms: float
    """The longest time between two places where a fit lets a frame through."""
    slices: int
    memory: Memory | None
    """None where that was not measured."""
    with_periods: Memory | None
    """The same with a head of its own by day, and another at night."""


def measure(scenes: Sequence[SceneFeatures], model: Path, work: Path, repeats: int, runs: int) -> Cost:
    """Measure with examples of these scenes; memory by so many runs of the daemon, if any.

    Raises CalledProcessError where a process fails.
    """
    rows = np.concatenate([part.region for seen in scenes for part in (seen.taught, seen.judged)])
    size = rows.shape[1]
    file = work / "rows.f16"
    np.resize(rows, (LABELS * OF_EACH, size)).tofile(file)
    fits = [_fit(file, size) for _ in range(repeats)]
    memory, with_periods = lessons.memory(model, runs, LABELS, OF_EACH) if runs else (None, None)
    return Cost(
        features=size,
        seconds=statistics.median(fit["seconds"] for fit in fits),
        longest_ms=statistics.median(fit["longest_ms"] for fit in fits),
        slices=int(fits[0]["slices"]),
        memory=memory,
        with_periods=with_periods,
    )


def _fit(file: Path, size: int) -> dict[str, float]:
    arguments = [str(file), str(size), str(LABELS), str(OF_EACH)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as the service has it
    command = [sys.executable, "-c", _CHILD, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured

"""The measuring process: reads a task from standard input, carries it out, writes the reading to a file.

`python -m edge_agent.tools.measure.child READING_FILE < task.json`. It imports as little as it can, because
everything that it imports is measured.
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference import Engine
from edge_agent.inference.classifier import probabilities
from edge_agent.inference.preprocess import Preprocessor
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.trim import Libc, SystemLibc, Trimmer, tune_allocator
from edge_agent.model.sidecar import read_sidecar
from edge_agent.sources.picture import read_picture
from edge_agent.tools.measure.task import Reading, Task

_FRAMES_AFTER_TRIM = 10

EngineInput = NDArray[np.float32]


def measure(task: Task, libc: Libc) -> Reading:
    """Carry the task out in this process, which is linked to `libc`."""
    if task.trims:
        tune_allocator(libc)
    for module in task.imports:
        importlib.import_module(module)
    tensors = _tensors(task)
    first = next(tensors)
    base_mb = read_memory().rss_mb
    started_s = time.perf_counter()
    engine = _loader(task.loader)(task)
    load_s = time.perf_counter() - started_s
    if task.trims:
        tune_allocator(libc, engine.info.engine)
    _repeat(engine, first, task.warmup)
    if task.probabilities:
        _save_probabilities(engine, chain([first], tensors), task)
    faults_before = _page_faults()
    latencies_ms = _time_frames(engine, first, task)
    faults = (_page_faults() - faults_before) / len(latencies_ms)
    untrimmed_mb = read_memory().rss_mb
    if task.trims:
        Trimmer(libc).trim()
        _repeat(engine, first, _FRAMES_AFTER_TRIM)
    use = read_memory()
    return Reading(
        library=engine.info.library,
        arithmetic=engine.info.arithmetic,
        threads=engine.info.threads,
        load_s=load_s,
        latencies_ms=tuple(latencies_ms),
        base_mb=base_mb,
        steady_mb=use.rss_mb,
        untrimmed_mb=untrimmed_mb,
        anon_mb=use.anon_mb,
        file_mb=use.file_mb,
        peak_mb=use.peak_mb,
        faults_per_frame=faults,
    )


def _loader(name: str) -> Callable[[Task], Engine]:
    module, _, function = name.partition(":")
    loader: Callable[[Task], Engine] = getattr(importlib.import_module(module), function)
    return loader


def _tensors(task: Task) -> Iterator[EngineInput]:
    preprocessor = Preprocessor(read_sidecar(Path(task.model)).sidecar.preprocessing)
    for path in task.pictures:
        yield preprocessor(read_picture(Path(path))).copy()


def _repeat(engine: Engine, tensor: EngineInput, times: int) -> None:
    for _ in repeat(None, times):
        engine.run(tensor)


def _save_probabilities(engine: Engine, tensors: Iterator[EngineInput], task: Task) -> None:
    """Run every picture, or as many as the task's time allows."""
    deadline_s = time.monotonic() + task.longest_s
    activation = read_sidecar(Path(task.model)).sidecar.activation
    rows: list[NDArray[np.float64]] = []
    for tensor in tensors:
        rows.append(probabilities(engine.run(tensor), activation))
        if time.monotonic() > deadline_s:
            break
    np.save(task.probabilities, np.array(rows, np.float32))


def _time_frames(engine: Engine, tensor: EngineInput, task: Task) -> list[float]:
    deadline_s = time.monotonic() + task.longest_s
    latencies_ms: list[float] = []
    while len(latencies_ms) < task.frames and (not latencies_ms or time.monotonic() < deadline_s):
        started_s = time.perf_counter()
        engine.run(tensor)
        latencies_ms.append((time.perf_counter() - started_s) * 1000)
    return latencies_ms


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main(arguments: Sequence[str]) -> None:
    task = Task.from_json(sys.stdin.read())
    Path(arguments[0]).write_text(measure(task, SystemLibc()).to_json(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""What a step of training takes: measured in a fresh process for each way, with random pictures.

`python -m edge_agent.tools.train.probe WAY...`, each a `Way` as JSON, is that process; it forks for each but
the last, before torch has computed anything, and prints a line for each, a `Probe` as JSON. With `--building`
before one way, it prints what building the model takes instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from edge_agent.errors import ModelError
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.trim import SystemLibc, tune_allocator
from edge_agent.system.child import python_module
from edge_agent.system.json_reader import parse, read
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.measure.table import table
from edge_agent.tools.train.average import Average
from edge_agent.tools.train.building import build_model, give_back, write_weights
from edge_agent.tools.train.loop import optimizer_of
from edge_agent.tools.train.network import Scope, make_trainee, set_scope
from edge_agent.tools.train.recompute import Checkpoint, as_it_answers, recompute

_BUILDING = "--building"
_STEPS = 3
_LONGEST_S = 900.0
_ARTICLE = "The article claims 1.8 GB without checkpointing and 1.1 GB with it, for 10 to 15 % more time."


@dataclass(frozen=True, slots=True)
class Way:
    """A training of which a few steps are measured."""

    mode: Checkpoint
    batch: int
    """Pictures at once."""
    precision: str
    arch: str
    side: int | None = None
    """Of the square that the network takes; None for its own."""
    labels: int = 1000
    scope: Scope = "all"
    average: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """One process's figures, in MiB and seconds."""

    mode: str
    batch: int
    precision: str
    idle_mb: float
    """Resident with torch and the network loaded, before the first step."""
    peak_mb: float
    step_s: float
    """The quickest of the steps after the first."""


def probes(arch: str, batches: Sequence[int], report: Report) -> Iterator[Probe]:
    """Measure every way. Raises ModelError where a process fails."""
    modes: tuple[Checkpoint, ...] = ("none", "stages", "blocks")
    for batch, precision, mode in product(batches, ("fp32", "bf16"), modes):
        report(f"batch {batch}, {precision}, --checkpoint {mode}")
        yield from probe([Way(mode, batch, precision, arch)])


def probe(ways: Sequence[Way]) -> list[Probe]:
    """Measure each in a process of its own, one after the other. Raises ModelError where one fails."""
    return [read(Probe, parse(line)) for line in _process(*(json.dumps(asdict(way)) for way in ways))]


def probe_building(way: Way) -> float:
    """How far building a model of such a network goes above what training has before its first step, in MiB.

    Raises ModelError where the process fails.
    """
    (line,) = _process(_BUILDING, json.dumps(asdict(way)))
    return float(line)


def _process(*arguments: str) -> list[str]:
    """The lines that a measuring process prints."""
    command = python_module("edge_agent.tools.train.probe", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    if done.returncode != 0:
        raise ModelError(f"the measuring process has failed: {printable(done.stderr[-300:])}")
    return done.stdout.splitlines()


def as_table(found: Sequence[Probe]) -> str:
    """The figures as Markdown, each beside that of the same batch and precision without checkpointing."""
    plain = {(each.batch, each.precision): each for each in found if each.mode == "none"}
    header = (
        "batch, precision, checkpoint",
        "peak MB",
        "above idle MB",
        "of plain",
        "step s",
        "time of plain",
    )
    rows = []
    for each in found:
        base = plain[each.batch, each.precision]
        above = each.peak_mb - each.idle_mb
        rows.append(
            (
                f"{each.batch}, {each.precision}, {each.mode}",
                f"{each.peak_mb:.0f}",
                f"{above:.0f}",
                f"{above / (base.peak_mb - base.idle_mb):.0%}",
                f"{each.step_s:.2f}",
                f"{each.step_s / base.step_s:.0%}",
            )
        )
    return f"{table(header, rows)}\n\n{_ARTICLE}\n"


def measure(way: Way) -> Probe:
    """Train a few steps in this process, and look at pictures as between epochs."""
    tune_allocator(
        SystemLibc(), "native"
    )  # in every mode, as computing again does it: else they differ in that
    trainee = make_trainee(way.arch, "none", way.side, [str(each) for each in range(way.labels)], _silent)
    learning, side = set_scope(trainee, way.scope), trainee.preprocessing.crop
    network = trainee.module.to(memory_format=torch.channels_last)
    idle_mb, times_s = read_memory().rss_mb, []
    if way.scope == "all":
        recompute(network, way.mode, side)
    optimizer = optimizer_of(network)
    average = Average(network, learning, 10) if way.average else None
    pictures = torch.randn(way.batch, side, side, 3).permute(0, 3, 1, 2)
    truth = torch.arange(way.batch) % way.labels
    for module in learning:
        module.train()
    for number in range(1, _STEPS + 1):
        started_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=way.precision == "bf16"):
            logits = network(pictures)
        torch.nn.functional.cross_entropy(logits.float(), truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if average:
            average.update(number)
        times_s.append(time.perf_counter() - started_s)
    with as_it_answers(network), torch.inference_mode():
        network(pictures)
    return Probe(way.mode, way.batch, way.precision, idle_mb, read_memory().peak_mb, min(times_s[1:]))


def measure_building(way: Way) -> float:
    """Build a model as after a training; returns how far the peak was above what was there before, in MiB."""
    tune_allocator(SystemLibc(), "native")
    labels = [str(each) for each in range(way.labels)]
    trainee = make_trainee(way.arch, "none", way.side, labels, _silent)
    before_mb, taken = read_memory().rss_mb, trainee.preprocessing
    with TemporaryDirectory() as folder:
        weights = Path(folder, "weights.pth")
        write_weights(trainee.module, weights)
        del trainee
        give_back()
        build_model(Path(folder, "model"), way.arch, weights, labels, taken, _silent)
    return max(read_memory().peak_mb - before_mb, 0.0)


def _silent(_line: str) -> None:
    """Nobody is told where the random weights come from."""


def _main(ways: Sequence[str]) -> None:
    if ways[0] == _BUILDING:
        print(measure_building(read(Way, parse(ways[1]))))
        return
    for each in ways[:-1]:
        if (child := os.fork()) == 0:
            _say(each)
            return
        _, status = os.waitpid(child, 0)
        if status != 0:
            raise SystemExit(1)
    _say(ways[-1])


def _say(way: str) -> None:
    print(json.dumps(asdict(measure(read(Way, parse(way))))), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])

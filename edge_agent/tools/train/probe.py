"""What a step of training takes: measured in a fresh process for each way, with random pictures.

`python -m edge_agent.tools.train.probe MODE BATCH PRECISION ARCH` is that process; it prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import cast

from edge_agent.errors import ModelError
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.trim import SystemLibc, tune_allocator
from edge_agent.system.child import python_module
from edge_agent.system.json_reader import parse, read
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.measure.table import table

_STEPS = 3
_LONGEST_S = 900.0
_CLASSES = 1000
_ARTICLE = "The article claims 1.8 GB without checkpointing and 1.1 GB with it, for 10 to 15 % more time."


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
    for batch, precision, mode in product(batches, ("fp32", "bf16"), ("none", "stages", "blocks")):
        report(f"batch {batch}, {precision}, --checkpoint {mode}")
        command = python_module("edge_agent.tools.train.probe", mode, str(batch), precision, arch)
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
        if done.returncode != 0:
            raise ModelError(f"the measuring process has failed: {printable(done.stderr[-300:])}")
        yield read(Probe, parse(done.stdout))


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


def measure(mode: str, batch: int, precision: str, arch: str) -> Probe:
    """Train a few steps in this process."""
    import torch

    from edge_agent.tools.builder.architectures import find_architecture
    from edge_agent.tools.train.recompute import Checkpoint, recompute

    architecture = find_architecture(arch)
    side = architecture.preprocessing.crop
    tune_allocator(
        SystemLibc(), "native"
    )  # in every mode, as computing again does it: else they differ in that
    network = architecture.make(_CLASSES).train().to(memory_format=torch.channels_last)
    recompute(network, cast(Checkpoint, mode), side)
    optimizer = torch.optim.SGD(network.parameters(), 0.001, momentum=0.9, foreach=False)
    idle_mb, times_s = read_memory().rss_mb, []
    pictures = torch.randn(batch, side, side, 3).permute(0, 3, 1, 2)
    truth = torch.arange(batch) % _CLASSES
    for _ in range(_STEPS):
        started_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(pictures)
        torch.nn.functional.cross_entropy(logits.float(), truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times_s.append(time.perf_counter() - started_s)
    return Probe(mode, batch, precision, idle_mb, read_memory().peak_mb, min(times_s[1:]))


if __name__ == "__main__":
    given_mode, given_batch, given_precision, given_arch = sys.argv[1:]
    print(json.dumps(asdict(measure(given_mode, int(given_batch), given_precision, given_arch))))

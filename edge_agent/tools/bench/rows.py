"""The rows of the bench: the task of each, or the reason why it cannot be run here."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.inference.host import Host
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import Artifact, EngineName, role_of
from edge_agent.tools.builder.subject import TORCHSCRIPT as FROM_TORCHSCRIPT
from edge_agent.tools.calibrate import ENGINE_LOADER
from edge_agent.tools.measure.task import Task

_TORCH_ROWS = "edge_agent.tools.bench.torch_rows"
_MB = 1 << 20

EAGER = "eager FP32"
TORCHSCRIPT = "TorchScript FP32"
EAGER_HALF = "eager, naive .half()"
NAIVE_HALF = "TorchScript, naive .half()"

_RANDOM = "random weights, because the file that the model was built from is not here (--weights FILE)"
_SLOW_HALF = "computed in FP16, for which most CPUs have no fast convolution"


@dataclass(frozen=True, slots=True)
class RowSpec:
    """One row to be measured, or the reason why it cannot be."""

    name: str
    task: Task | None
    artifact_mb: float | None = None
    absent: str = ""
    note: str = ""
    has_real_weights: bool = True
    """False where the network had to be run with random weights: its answers are then not compared."""


@dataclass(frozen=True, slots=True)
class BenchSetup:
    """The settings that all rows of one bench share."""

    artifact: Artifact
    pictures: tuple[str, ...]
    frames: int
    threads: int
    weights: Path | None = None
    """The file that the model was built from; None where it is not here."""
    pictures_skipped: int = 0
    """How many more could not be read."""


def standard_rows(host: Host, setup: BenchSetup) -> tuple[RowSpec, ...]:
    """The bench's own rows, from the way that tutorials write it to the leanest engine."""
    return (
        _eager_row(EAGER, "load_eager", setup),
        torchscript_row(host, setup),
        _eager_row(NAIVE_HALF, "load_naive_half", setup, note=_SLOW_HALF),
        engine_row("FP16 weights, TorchScript", "torchscript", "fp16", host, setup),
        engine_row("XNNPACK FP32", "xnnpack", "fp32", host, setup),
        engine_row("XNNPACK FP16", "xnnpack", "fp16", host, setup),
        engine_row("native FP32", "native", "fp32", host, setup),
        engine_row("native FP16", "native", "fp16", host, setup),
        *_fp16_arithmetic_rows(host, setup),
    )


def eager_half_row(setup: BenchSetup) -> RowSpec:
    """The network after `.half()`, and nothing else done to it."""
    return _eager_row(EAGER_HALF, "load_eager_half", setup, note=_SLOW_HALF)


def _fp16_arithmetic_rows(host: Host, setup: BenchSetup) -> tuple[RowSpec, ...]:
    if not host.native_fp16:
        return ()
    row = engine_row("native FP16, FP16 arithmetic", "native", "fp16", host, setup)
    task = row.task and replace(row.task, options={**row.task.options, "arithmetic": "fp16"})
    return (replace(row, task=task),)


def torchscript_row(host: Host, setup: BenchSetup) -> RowSpec:
    """The built FP32 module, loaded and called as tutorials do it."""
    size_mb = artifact_mb(setup.artifact, "torchscript-fp32")
    if not host.torch or size_mb is None:
        absent = "the model has no torchscript-fp32 file" if host.torch else "torch is not installed"
        return RowSpec(TORCHSCRIPT, None, size_mb, absent)
    task = make_task(f"{_TORCH_ROWS}:load_torchscript", setup, {"threads": str(setup.threads)})
    return RowSpec(TORCHSCRIPT, task, size_mb)


def engine_row(name: str, engine: EngineName, precision: Precision, host: Host, setup: BenchSetup) -> RowSpec:
    """A row that runs one of the agent's own engines, trimmed as the agent does it."""
    role = role_of(engine, precision)
    sidecar = setup.artifact.sidecar
    if role not in sidecar.files:
        why = f" ({sidecar.not_lowered})" if engine != "torchscript" and sidecar.not_lowered else ""
        return RowSpec(name, None, absent=f"the model has no {role} files{why}")
    if engine == "native" and not host.native:
        return RowSpec(name, None, absent=host.native_problem)
    if engine == "xnnpack" and not host.xnnpack:
        return RowSpec(name, None, absent=host.xnnpack_problem)
    if engine == "torchscript" and not host.torch:
        return RowSpec(name, None, absent="torch is not installed")
    options = {"engine": engine, "precision": precision, "threads": str(setup.threads)}
    task = make_task(ENGINE_LOADER, setup, options, trims=True)
    return RowSpec(name, task, artifact_mb(setup.artifact, role))


def make_task(loader: str, setup: BenchSetup, options: Mapping[str, str], *, trims: bool = False) -> Task:
    """Make the task of a row; the tasks of one bench differ in these arguments alone."""
    return Task(
        loader=loader,
        model=str(setup.artifact.directory),
        pictures=setup.pictures,
        options=options,
        frames=setup.frames,
        trims=trims,
    )


def artifact_mb(artifact: Artifact, role: str) -> float | None:
    """The size in MiB of the files of one role; None where there are none."""
    files = artifact.sidecar.files.get(role)
    return sum(file.bytes for file in files) / _MB if files else None


def _eager_row(name: str, function: str, setup: BenchSetup, note: str = "") -> RowSpec:
    """A row that builds the network from Python, as tutorials do."""
    arch = setup.artifact.sidecar.arch
    if arch == FROM_TORCHSCRIPT:
        return RowSpec(name, None, absent="the model was built from a TorchScript file, not from a class")
    needed = ("torch", "efficientnet_lite_pytorch" if arch == "efficientnet_lite0" else "torchvision")
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        return RowSpec(name, None, absent=f"{' and '.join(missing)} not installed")
    weights = "" if setup.weights is None else str(setup.weights)
    options = {"threads": str(setup.threads), "weights": weights}
    notes = "; ".join(part for part in (note, "" if weights else _RANDOM) if part)
    task = make_task(f"{_TORCH_ROWS}:{function}", setup, options)
    return RowSpec(name, task, note=notes, has_real_weights=bool(weights))

"""The rows of the bench: what is run, with which loader, and why a row cannot be run here."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.artifact.sidecar import Artifact
from edge_agent.calibrate.task import Task
from edge_agent.inference import EngineName, Precision
from edge_agent.inference.host import Host

ENGINE_LOADER = "edge_agent.calibrate.engines:load"
_TORCH_ROWS = "edge_agent.bench.torch_rows"
_MB = 1 << 20

EAGER = "eager FP32"
TORCHSCRIPT = "TorchScript FP32"
NAIVE_HALF = "TorchScript, naive .half()"


@dataclass(frozen=True, slots=True)
class RowSpec:
    """One row to be measured, or the reason why it cannot be."""

    name: str
    task: Task | None
    artifact_mb: float | None = None
    absent: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all rows of one bench share."""

    pictures: tuple[str, ...]
    frames: int
    threads: int


def standard_rows(artifact: Artifact, host: Host, setting: Setting) -> tuple[RowSpec, ...]:
    """From the way that tutorials write it to the leanest engine."""
    return (
        *_tutorial_rows(artifact, host, setting),
        engine_row("FP16 weights, TorchScript", "torchscript", "fp16", artifact, host, setting),
        engine_row("lean FP32", "xnnpack", "fp32", artifact, host, setting),
        engine_row("lean FP16", "xnnpack", "fp16", artifact, host, setting),
    )


def engine_row(
    name: str, engine: EngineName, precision: Precision, artifact: Artifact, host: Host, setting: Setting
) -> RowSpec:
    """A row that runs one of the agent's own engines, trimmed as the agent does it."""
    role = f"{engine}-{precision}"
    if role not in artifact.sidecar.files:
        why = artifact.sidecar.not_lowered if engine == "xnnpack" else ""
        return RowSpec(
            name, None, absent=f"the model has no {role} files {f'({why})' if why else ''}".strip()
        )
    if engine == "xnnpack" and not host.xnnpack:
        return RowSpec(name, None, absent=host.xnnpack_problem)
    if engine == "torchscript" and not host.torch:
        return RowSpec(name, None, absent="torch is not installed")
    options = {"engine": engine, "precision": precision, "threads": str(setting.threads)}
    task = _task(ENGINE_LOADER, artifact, setting, options, trims=True)
    return RowSpec(name, task, artifact_mb(artifact, role))


def artifact_mb(artifact: Artifact, role: str) -> float | None:
    """The size in MiB of the files of one role; None where there are none."""
    files = [file for name, found in artifact.sidecar.files.items() if name == role for file in found]
    return sum(file.bytes for file in files) / _MB if files else None


def _tutorial_rows(artifact: Artifact, host: Host, setting: Setting) -> Sequence[RowSpec]:
    size_mb = artifact_mb(artifact, "torchscript-fp32")
    options = {"threads": str(setting.threads)}
    eager = _task(f"{_TORCH_ROWS}:load_eager", artifact, setting, options)
    script = _task(f"{_TORCH_ROWS}:load_torchscript", artifact, setting, options)
    half = _task(f"{_TORCH_ROWS}:load_naive_half", artifact, setting, options)
    if not host.torch:
        absent = "torch is not installed"
        return [RowSpec(name, None, absent=absent) for name in (EAGER, TORCHSCRIPT, NAIVE_HALF)]
    if importlib.util.find_spec("torchvision") is None:
        absent = "torchvision is not installed, which these rows build the network with"
        return [
            RowSpec(EAGER, None, absent=absent),
            RowSpec(TORCHSCRIPT, script, size_mb),
            RowSpec(NAIVE_HALF, None, absent=absent),
        ]
    return [
        RowSpec(EAGER, eager),
        RowSpec(TORCHSCRIPT, script, size_mb),
        RowSpec(NAIVE_HALF, half, note="computed in FP16, for which most CPUs have no fast convolution"),
    ]


def _task(
    loader: str, artifact: Artifact, setting: Setting, options: Mapping[str, str], *, trims: bool = False
) -> Task:
    return Task(
        loader=loader,
        model=str(artifact.directory),
        pictures=setting.pictures,
        options=options,
        frames=setting.frames,
        trims=trims,
    )

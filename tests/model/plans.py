"""Small plans with weights, made by hand or at random, for the tests of everything that reads plans."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.model.plan import (
    ALIGNMENT,
    UNBOUNDED,
    Activation,
    ActivationKind,
    Arithmetic,
    ArithmeticKind,
    Bounds,
    Concat,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Operation,
    Plan,
    PlanError,
    Pool2d,
    PoolKind,
    Precision,
    Shape,
    Tensor,
    output_shape,
)
from edge_agent.model.plan_file import encode_plan
from edge_agent.model.sidecar import (
    Artifact,
    ArtifactFile,
    Preprocessing,
    Sidecar,
    WeightsOrigin,
    describe_file,
    files_sha256,
)

_PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")
_POOLS: tuple[PoolKind, ...] = ("max", "average")
_ACTIVATIONS: tuple[ActivationKind, ...] = ("hardswish", "sigmoid", "clamp")
_ARITHMETIC: tuple[ArithmeticKind, ...] = ("add", "multiply")

DTYPES: dict[Precision, str] = {"fp16": "<f2", "fp32": "<f4"}
SQUARE = Preprocessing(resize=8, crop=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@dataclass
class RandomPlan:
    """Adds operations one by one, with random weights; every method returns the number of its tensor."""

    input_shape: Shape
    precision: Precision = "fp32"
    seed: int = 0
    tensors: list[Tensor] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    blob: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.tensors.append(Tensor(self.input_shape))
        self._random = np.random.default_rng(self.seed)

    def constant(self, shape: Shape, scale: float = 1.0) -> int:
        values = (self._random.standard_normal(shape) * scale).astype(DTYPES[self.precision])
        self.tensors.append(Tensor(shape, len(self.blob)))
        self.blob += values.tobytes() + bytes(-values.nbytes % ALIGNMENT)
        return len(self.tensors) - 1

    def add(self, operation: Operation) -> int:
        shape = output_shape(operation, self.tensors)
        self.tensors.append(Tensor(shape))
        self.operations.append(replace(operation, output=len(self.tensors) - 1))
        return len(self.tensors) - 1

    def conv2d(
        self,
        source: int,
        outputs: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        groups: int = 1,
        bounds: Bounds = UNBOUNDED,
    ) -> int:
        inputs = self.tensors[source].shape[-1] // groups
        weights = self.constant((outputs, *kernel, inputs), 1 / math.sqrt(inputs * math.prod(kernel)))
        bias = self.constant((outputs,))
        name = f"conv{len(self.operations)}"
        return self.add(Conv2d(name, source, weights, bias, 0, stride, dilation, padding, groups, bounds))

    def linear(self, source: int, outputs: int, bounds: Bounds = UNBOUNDED) -> int:
        inputs = self.tensors[source].elements
        weights, bias = self.constant((outputs, inputs), 1 / math.sqrt(inputs)), self.constant((outputs,))
        return self.add(FullyConnected(f"fc{len(self.operations)}", source, weights, bias, 0, bounds))

    def build(self, output: int) -> tuple[Plan, bytes]:
        blob = bytes(self.blob) or bytes(ALIGNMENT)
        return (
            Plan(self.precision, len(blob), 0, output, tuple(self.tensors), tuple(self.operations)),
            blob,
        )


def small_plan(precision: Precision = "fp32") -> tuple[Plan, bytes]:
    """A network with one operation of each type."""
    builder = RandomPlan((1, 9, 8, 3), precision)
    stem = builder.conv2d(0, 8, padding=(1, 1, 1, 1), bounds=Bounds(0.0, 6.0))
    depthwise = builder.conv2d(stem, 8, padding=(1, 0, 1, 2), groups=8)
    total = builder.add(Arithmetic("residual", "add", stem, depthwise, 0, Bounds(low=0.0)))
    pooled = builder.add(Pool2d("pool", "max", total, 0, (3, 3), (2, 2), (1, 1, 1, 1)))
    activated = builder.add(Activation("swish", "hardswish", pooled, 0))
    joined = builder.add(Concat("cat", (pooled, activated), 0))
    mean = builder.add(GlobalAveragePool("mean", joined, 0))
    scaled = builder.add(Arithmetic("scale", "multiply", joined, mean, 0))
    vector = builder.add(GlobalAveragePool("vector", scaled, 0))
    return builder.build(builder.linear(vector, 5))


def save(plan: Plan, blob: bytes, directory: Path) -> Artifact:
    """Write a plan as a model directory and return that, with the plan's files in its sidecar."""
    return save_bytes(encode_plan(plan), blob, directory, plan.precision)


def save_bytes(plan: bytes, blob: bytes, directory: Path, precision: Precision) -> Artifact:
    """Write a plan file of any contents as a model directory."""
    stem = f"xnnpack-{precision}"
    (directory / f"{stem}.plan.json").write_bytes(plan)
    (directory / f"{stem}.weights").write_bytes(blob)
    return artifact_of(directory, precision)


def artifact_of(directory: Path, *precisions: Precision) -> Artifact:
    """Return a model directory with the plans in it."""
    files: dict[str, tuple[ArtifactFile, ...]] = {
        f"xnnpack-{precision}": _files(directory, precision) for precision in precisions
    }
    sidecar = Sidecar(
        name="test",
        arch="test",
        created="2025-01-01T00:00:00Z",
        torch_version="",
        weights=WeightsOrigin("random", "0" * 64),
        preprocessing=SQUARE,
        labels=(),
        files=files,
        sha256=files_sha256(files),
    )
    return Artifact(directory, sidecar)


def _files(directory: Path, precision: Precision) -> tuple[ArtifactFile, ArtifactFile]:
    plan, weights = (directory / f"xnnpack-{precision}.{suffix}" for suffix in ("plan.json", "weights"))
    return describe_file(plan), describe_file(weights)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Plan, bytes]:
    """Valid networks of up to eight operations on small pictures, with unusual windows and groups."""
    shape = (1, draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 9)))
    builder = RandomPlan(shape, draw(st.sampled_from(_PRECISIONS)), draw(st.integers(0, 99)))
    last = 0
    for _ in range(draw(st.integers(1, 8))):
        try:
            last = draw(st.sampled_from(_STEPS))(draw, builder, last)
        except PlanError:
            continue
    assume(builder.operations)
    return builder.build(last)


_BOUNDS = st.sampled_from((UNBOUNDED, Bounds(0.0), Bounds(0.0, 6.0), Bounds(-1.0, 1.0)))
_LENGTH = st.integers(1, 4)


def _conv(draw: st.DrawFn, builder: RandomPlan, source: int) -> int:
    channels = builder.tensors[source].shape[-1]
    groups = draw(st.sampled_from([number for number in range(1, channels + 1) if channels % number == 0]))
    kernel = (draw(_LENGTH), draw(_LENGTH))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    stride = (draw(_LENGTH), draw(_LENGTH))
    return builder.conv2d(
        source, groups * draw(st.integers(1, 5)), kernel, stride=stride, dilation=dilation,
        padding=_padding(draw, kernel, dilation), groups=groups, bounds=draw(_BOUNDS),
    )  # fmt: skip


def _pool(draw: st.DrawFn, builder: RandomPlan, source: int) -> int:
    kernel = (draw(_LENGTH), draw(_LENGTH))
    stride = (draw(_LENGTH), draw(_LENGTH))
    padding = _padding(draw, kernel, (1, 1))
    kind = draw(st.sampled_from(_POOLS))
    return builder.add(Pool2d("pool", kind, source, 0, kernel, stride, padding))


def _padding(
    draw: st.DrawFn, kernel: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    vertical, horizontal = ((size - 1) * step for size, step in zip(kernel, dilation, strict=True))
    top, bottom = draw(st.integers(0, vertical)), draw(st.integers(0, vertical))
    left, right = draw(st.integers(0, horizontal)), draw(st.integers(0, horizontal))
    return top, right, bottom, left


def _linear(draw: st.DrawFn, builder: RandomPlan, source: int) -> int:
    return builder.linear(source, draw(st.integers(1, 20)), draw(_BOUNDS))


def _mean(_: st.DrawFn, builder: RandomPlan, source: int) -> int:
    return builder.add(GlobalAveragePool("mean", source, 0))


def _activation(draw: st.DrawFn, builder: RandomPlan, source: int) -> int:
    kind = draw(st.sampled_from(_ACTIVATIONS))
    bounds = draw(_BOUNDS.filter(lambda chosen: chosen != UNBOUNDED)) if kind == "clamp" else UNBOUNDED
    return builder.add(Activation("activation", kind, source, 0, bounds))


def _arithmetic(draw: st.DrawFn, builder: RandomPlan, source: int) -> int:
    shape = builder.tensors[source].shape
    operands = [builder.constant((1,)), builder.constant((shape[-1],)), *_activations(builder)]
    kind = draw(st.sampled_from(_ARITHMETIC))
    operation = Arithmetic("arithmetic", kind, source, draw(st.sampled_from(operands)), 0, draw(_BOUNDS))
    return builder.add(operation)


def _concat(draw: st.DrawFn, builder: RandomPlan, source: int) -> int:
    others = draw(st.lists(st.sampled_from(_activations(builder)), max_size=3))
    return builder.add(Concat("cat", (source, *others), 0))


def _activations(builder: RandomPlan) -> list[int]:
    return [number for number, tensor in enumerate(builder.tensors) if tensor.offset is None]


_STEPS = (_conv, _conv, _conv, _pool, _linear, _mean, _activation, _arithmetic, _concat)


def constants_of(plan: Plan, blob: bytes) -> dict[int, NDArray[np.float32]]:
    """The values of a plan's constants, by tensor."""
    return {
        number: np.frombuffer(blob, DTYPES[plan.precision], tensor.elements, tensor.offset)
        .reshape(tensor.shape)
        .astype(np.float32)
        for number, tensor in enumerate(plan.tensors)
        if tensor.offset is not None
    }


def picture_for(plan: Plan, seed: int = 0) -> NDArray[np.float32]:
    """A random input of the plan's shape."""
    return np.random.default_rng(seed).standard_normal(plan.input_shape).astype(np.float32)

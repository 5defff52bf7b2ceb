"""A plan: a lowered network as a list of operations on numbered tensors, and the shapes that these make.

Tensors that have an `offset` are constants in the weights blob beside the plan; the others are activations,
each made by exactly one operation from earlier ones. Shapes are NHWC with N = 1; a convolution's filter is
(output channels, height, width, input channels of one group), a fully connected layer's (outputs, inputs).
Constants are little-endian IEEE 754 of the plan's precision, each at a multiple of ALIGNMENT bytes.

`plan_check` verifies a plan, `plan_file` reads and writes one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from edge_agent.errors import ArtifactError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.json_reader import Rule, between

ALIGNMENT = 64
MAX_DIMENSION = 1 << 20
"""The largest dimension, stride or dilation, far below what the library's 32-bit integers hold."""
MOST_FEATURES = 4096
"""As many numbers as the last layer of AlexNet and VGG reads; an example for a head keeps them all."""

Precision = Literal["fp16", "fp32"]
Count = Annotated[int, between(0, (1 << 31) - 1)]
Id = Count
"""A tensor, by its place in the plan."""
Ids = tuple[Id, ...]
Name = Annotated[str, Rule(lambda name: len(name) <= 500, "not a text of at most 500 characters")]
Shape = Annotated[tuple[Count, ...], Rule(lambda shape: 1 <= len(shape) <= 4, "not a list of 1 to 4 numbers")]
Pair = Annotated[tuple[Count, Count], Rule(len, "not a list of 2 numbers")]
Sides = Annotated[tuple[Count, Count, Count, Count], Rule(len, "not a list of 4 numbers")]
PoolKind = Literal["max", "average"]
ArithmeticKind = Literal["add", "multiply"]
ActivationKind = Literal["clamp", "hardswish", "sigmoid"]

DTYPES: Mapping[Precision, np.dtype[Any]] = {"fp16": np.dtype("<f2"), "fp32": np.dtype("<f4")}
"""The type that a constant is stored in."""
BYTES_PER_ELEMENT: Mapping[Precision, int] = {"fp16": 2, "fp32": 4}


class PlanError(ArtifactError):
    """A plan is damaged, hostile, or made by a newer version; the message says where."""


class Bounds(NamedTuple):
    """Results are clamped to low..high: this is how relu and relu6 are fused into what produces them."""

    low: float = -math.inf
    high: float = math.inf


UNBOUNDED = Bounds()


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation, or a constant `offset` bytes into the weights blob."""

    shape: Shape
    offset: Count | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Conv2d:
    """A convolution; depthwise where `groups` is the number of channels.

    `stride` and `dilation`: vertical, horizontal. `padding`: top, right, bottom, left.
    """

    name: Name
    input: Id
    filter: Id
    bias: Id
    output: Id
    stride: Pair
    dilation: Pair
    padding: Sides
    groups: Count
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, slots=True)
class FullyConnected:
    """A linear layer; reads its input as a vector, in NHWC order."""

    name: Name
    input: Id
    filter: Id
    bias: Id
    output: Id
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, slots=True)
class Pool2d:
    """Max or average pooling. Padding never wins a maximum and is not counted in an average."""

    name: Name
    kind: PoolKind
    input: Id
    output: Id
    kernel: Pair
    stride: Pair
    padding: Sides


@dataclass(frozen=True, slots=True)
class GlobalAveragePool:
    """The mean over height and width; both become 1."""

    name: Name
    input: Id
    output: Id


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """left + right or left * right; `right` is of the same shape, or one value a channel, or one value."""

    name: Name
    kind: ArithmeticKind
    left: Id
    right: Id
    output: Id
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, slots=True)
class Activation:
    """An element-wise function that could not be fused into what precedes it. `bounds` are for clamp only."""

    name: Name
    kind: ActivationKind
    input: Id
    output: Id
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, slots=True)
class Concat:
    """Joins tensors along their channels."""

    name: Name
    inputs: Ids
    output: Id


Operation = Conv2d | FullyConnected | Pool2d | GlobalAveragePool | Arithmetic | Activation | Concat

TYPE_NAMES: dict[type[Operation], str] = {
    Conv2d: "conv2d",
    FullyConnected: "fully_connected",
    Pool2d: "pool2d",
    GlobalAveragePool: "global_average_pool",
    Arithmetic: "arithmetic",
    Activation: "activation",
    Concat: "concat",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A lowered network of one input and one output."""

    precision: Precision
    weights_bytes: Count
    input: Id
    output: Id
    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]

    @property
    def input_shape(self) -> Shape:
        return self.tensors[self.input].shape

    @property
    def output_elements(self) -> int:
        return self.tensors[self.output].elements

    @property
    def features(self) -> Id | None:
        """What the last layer reads, which a head is taught on; None for a network that cannot be taught."""
        last = self._last
        return None if last is None or self.why_not_taught else activations_read(last)[0]

    @property
    def why_not_taught(self) -> str:
        """Why no head can take the place of the last layer; empty where one can."""
        last = self._last
        if not isinstance(last, FullyConnected):
            ending = f"{TYPE_NAMES[type(last)]} of {last.name!r}" if last else "nothing"
            return f"it ends in {ending}, not in a fully connected layer"
        if last.bounds != UNBOUNDED:
            return f"its last layer {last.name!r} clamps what it answers"
        read = self.tensors[last.input].elements
        if read > MOST_FEATURES:
            return f"its last layer {last.name!r} reads {read} numbers, more than {MOST_FEATURES}"
        return ""

    @property
    def _last(self) -> Operation | None:
        """What makes the output."""
        return next((made for made in self.operations if made.output == self.output), None)


def describe(index: int, operation: Operation) -> str:
    """Name an operation for a message: its place in the plan, its type, and the module that it came from."""
    return f"operation {index} ({TYPE_NAMES[type(operation)]} of {operation.name!r})"


def activations_read(operation: Operation) -> Ids:
    """The activations, and for Arithmetic perhaps a constant, that an operation reads; weights left out."""
    match operation:
        case Arithmetic(left=left, right=right):
            return (left, right)
        case Concat(inputs=inputs):
            return inputs
        case _:
            return (operation.input,)


def weights_read(operation: Operation) -> Ids:
    """The filter and the bias of an operation that has them."""
    match operation:
        case Conv2d(filter=filter_, bias=bias) | FullyConnected(filter=filter_, bias=bias):
            return (filter_, bias)
        case _:
            return ()


def output_shape(operation: Operation, tensors: Sequence[Tensor]) -> Shape:
    """Return the shape that an operation makes of its operands. Raises PlanError when they do not fit."""
    match operation:
        case Conv2d():
            return _conv_shape(operation, tensors)
        case FullyConnected():
            return _fully_connected_shape(operation, tensors)
        case Pool2d():
            return _pool_shape(operation, tensors)
        case GlobalAveragePool():
            return (1, 1, 1, _picture(tensors[operation.input].shape)[2])
        case Arithmetic():
            return _arithmetic_shape(operation, tensors)
        case Activation():
            return tensors[operation.input].shape
        case Concat():
            return _concat_shape(operation, tensors)


def _conv_shape(operation: Conv2d, tensors: Sequence[Tensor]) -> Shape:
    height, width, channels = _picture(tensors[operation.input].shape)
    filter_shape = tensors[operation.filter].shape
    require(len(filter_shape) == 4, f"its filter has shape {filter_shape}, not four dimensions")
    out_channels, kernel_height, kernel_width, group_channels = filter_shape
    groups = operation.groups
    require(
        groups >= 1 and channels % groups == 0 and out_channels % groups == 0,
        f"{groups} groups do not divide {channels} input and {out_channels} output channels",
    )
    require(
        group_channels * groups == channels,
        f"its filter is for {group_channels * groups} channels, its input has {channels}",
    )
    require(
        tensors[operation.bias].shape == (out_channels,),
        f"its bias is not one value for each of {out_channels}",
    )
    window = _Window((kernel_height, kernel_width), operation.stride, operation.dilation, operation.padding)
    return (1, *window.positions(height, width), out_channels)


def _fully_connected_shape(operation: FullyConnected, tensors: Sequence[Tensor]) -> Shape:
    filter_shape = tensors[operation.filter].shape
    require(len(filter_shape) == 2, f"its filter has shape {filter_shape}, not two dimensions")
    outputs, inputs = filter_shape
    require(
        tensors[operation.input].elements == inputs,
        f"its filter is for {inputs} inputs, it has {tensors[operation.input].elements}",
    )
    require(tensors[operation.bias].shape == (outputs,), f"its bias is not one value for each of {outputs}")
    return (1, outputs)


def _pool_shape(operation: Pool2d, tensors: Sequence[Tensor]) -> Shape:
    height, width, channels = _picture(tensors[operation.input].shape)
    require(math.prod(operation.kernel) > 1, "its window is a single element")
    require(
        operation.stride[0] <= operation.kernel[0] and operation.stride[1] <= operation.kernel[1],
        f"its stride {operation.stride} leaves out elements between its windows {operation.kernel}",
    )
    window = _Window(operation.kernel, operation.stride, (1, 1), operation.padding)
    return (1, *window.positions(height, width), channels)


def _arithmetic_shape(operation: Arithmetic, tensors: Sequence[Tensor]) -> Shape:
    left, right = tensors[operation.left].shape, tensors[operation.right].shape
    one_a_channel = right in ((left[-1],), (1, left[-1]), (1, 1, 1, left[-1]))
    require(right == left or one_a_channel or right == (1,), f"shapes {left} and {right} do not go together")
    return left


def _concat_shape(operation: Concat, tensors: Sequence[Tensor]) -> Shape:
    require(len(operation.inputs) > 0, "it has no inputs")
    shapes = [tensors[identifier].shape for identifier in operation.inputs]
    require(len({shape[:-1] for shape in shapes}) == 1, f"shapes {shapes} differ in more than their channels")
    return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))


def _picture(shape: Shape) -> tuple[int, int, int]:
    require(
        len(shape) == 4 and shape[0] == 1, f"its input has shape {shape}, not (1, height, width, channels)"
    )
    return shape[1], shape[2], shape[3]


class _Window(NamedTuple):
    """A window that slides over a picture."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: Sides

    def positions(self, height: int, width: int) -> Pair:
        top, right, bottom, left = self.padding
        return self._along(0, height, top, bottom), self._along(1, width, left, right)

    def _along(self, axis: int, size: int, before: int, after: int) -> int:
        kernel, stride, dilation = self.kernel[axis], self.stride[axis], self.dilation[axis]
        require(
            all(1 <= length <= MAX_DIMENSION for length in (kernel, stride, dilation)),
            f"its kernel, stride or dilation is not 1 to {MAX_DIMENSION}",
        )
        extent = (kernel - 1) * dilation + 1
        require(
            0 <= before < extent and 0 <= after < extent,
            f"its padding {before}, {after} is not below its extent {extent}",
        )
        padded = size + before + after
        require(extent <= padded, f"its extent {extent} is above the {padded} elements of its padded input")
        return (padded - extent) // stride + 1


def require(condition: bool, message: str) -> None:
    """Raise PlanError with `message` unless `condition` holds."""
    if not condition:
        raise PlanError(message)

"""Operators made from a plan's operations: what the releases of XNNPACK have in common."""

from __future__ import annotations

import ctypes
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent.inference.xnnpack.library import Library, XnnpackError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import (
    BYTES_PER_ELEMENT,
    Activation,
    Arithmetic,
    Concat,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Operation,
    Pool2d,
    Precision,
    Shape,
    Tensor,
)

YIELD_WORKERS = 0x10
"""XNN_FLAG_YIELD_WORKERS: after an operator the pool's threads sleep instead of spinning for the next one.

Spinning saves two percent of ResNet-18's time on an idle machine. Where other processes need the same cores,
the scheduler preempts the spinning thread just when its turn comes, and a picture takes four to ten times as
long.
"""

Connect = Callable[[Sequence[int], int, int], None]
"""Connects an operator to the addresses of its inputs, its output and its workspace."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One call of the library for each picture. `inputs` and `output` are tensors of the plan."""

    handle: int
    inputs: tuple[int, ...]
    output: int
    connect: Connect
    workspace_bytes: int = 0
    output_offset_bytes: int = 0


_SLAB_BYTES = 1 << 20
_SLAB_MULTIPLE = 32
"""No release computes more output channels side by side, so no slab but the last is padded."""


@dataclass(frozen=True, slots=True)
class Slab:
    """Some of a convolution's output channels, and where they begin in a pixel of the output."""

    offset_bytes: int
    channels: int


class Operators(ABC):
    """Makes and owns operators; a subclass knows the functions of one release of the library."""

    def __init__(self, library: Library, tensors: Sequence[Tensor], arithmetic: Precision, pool: int) -> None:
        """`pool` is the address of the pthreadpool that the operators will be run with."""
        self._library = library
        self._tensors = tensors
        self._type = {"fp16": "f16", "fp32": "f32"}[arithmetic]
        self._element_bytes = BYTES_PER_ELEMENT[arithmetic]
        self._pool = pool
        self._handles: list[int] = []

    def make(self, operation: Operation, weights: Sequence[int]) -> list[Operator]:
        """Return what runs an operation, in order.

        `weights` are the addresses of its filter and bias, which are packed into memory of the library's own.
        Raises XnnpackError, or UnavailableError where this library or CPU has no such operator.
        """
        match operation:
            case Conv2d():
                return self._in_slabs(operation, weights)
            case FullyConnected():
                return [self._fully_connected(operation, weights)]
            case Pool2d():
                return [self._pool2d(operation)]
            case GlobalAveragePool():
                return [self._global_average_pool(operation)]
            case Arithmetic():
                return self._arithmetic(operation)
            case Activation():
                return [self._activation(operation)]
            case Concat():
                return self._concat(operation)

    def close(self) -> None:
        """Delete every operator, and with it its packed weights. A second call does nothing."""
        while self._handles:
            self._call("xnn_delete_operator", "p", self._handles.pop())

    def _in_slabs(self, operation: Conv2d, weights: Sequence[int]) -> list[Operator]:
        """Several operators, each of some output channels, whose packed weights stay in the cache.

        The library goes from pixel to pixel with all the weights, and would read them from memory again and
        again. The answers are the same to the last bit.
        """
        outputs, *window = self._shape(operation.filter)
        a_channel = math.prod(window) * self._element_bytes
        channels = outputs
        if operation.groups == 1:
            channels = max(_SLAB_BYTES // a_channel // _SLAB_MULTIPLE, 1) * _SLAB_MULTIPLE
        filter_, bias = weights
        return [
            self._conv2d(
                operation,
                (filter_ + first * a_channel, bias + first * self._element_bytes),
                Slab(first * self._element_bytes, min(channels, outputs - first)),
            )
            for first in range(0, outputs, channels)
        ]

    @abstractmethod
    def _conv2d(self, operation: Conv2d, weights: Sequence[int], slab: Slab) -> Operator: ...

    @abstractmethod
    def _fully_connected(self, operation: FullyConnected, weights: Sequence[int]) -> Operator: ...

    @abstractmethod
    def _pool2d(self, operation: Pool2d) -> Operator: ...

    @abstractmethod
    def _global_average_pool(self, operation: GlobalAveragePool) -> Operator: ...

    @abstractmethod
    def _arithmetic(self, operation: Arithmetic) -> list[Operator]: ...

    @abstractmethod
    def _activation(self, operation: Activation) -> Operator: ...

    @abstractmethod
    def _copy(self, operation: Concat, source: int, offset_bytes: int) -> Operator:
        """Copy `source` into its channels of each pixel of the output."""

    def _concat(self, operation: Concat) -> list[Operator]:
        operators = []
        channel = 0
        for source in operation.inputs:
            operators.append(self._copy(operation, source, channel * self._element_bytes))
            channel += self._shape(source)[-1]
        return operators

    def _shape(self, tensor: int) -> Shape:
        return self._tensors[tensor].shape

    def _elements(self, tensor: int) -> int:
        return self._tensors[tensor].elements

    def _create(self, function: str, arguments: str, *values: Any) -> int:
        """Call a function that creates an operator; its last argument, for the handle, is added here."""
        handle = ctypes.c_void_p()
        self._call(function, arguments + "p", *values, ctypes.byref(handle))
        if not handle.value:
            raise XnnpackError(f"{function} succeeded, but made no operator")
        self._handles.append(handle.value)
        return handle.value

    def _call(self, function: str, arguments: str, *values: Any) -> None:
        self._library.call(function, arguments, *values)


def conv2d_geometry(operation: Conv2d, tensors: Sequence[Tensor], slab: Slab) -> tuple[int, ...]:
    """Return the first fifteen arguments of xnn_create_convolution2d_nhwc_*: CONV2D_GEOMETRY."""
    out_channels, kernel_height, kernel_width, group_channels = tensors[operation.filter].shape
    groups = operation.groups
    return (
        *operation.padding, kernel_height, kernel_width, *operation.stride, *operation.dilation, groups,
        group_channels, slab.channels // groups, group_channels * groups, out_channels,
    )  # fmt: skip


CONV2D_GEOMETRY = "u" * 11 + "z" * 4


def size_array(values: Sequence[int]) -> ctypes.Array[ctypes.c_size_t]:
    """Return an array of size_t."""
    return (ctypes.c_size_t * len(values))(*values)

"""The order in which the kernels read weights: the place of each array, and the numbers to put there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference.native.steps import Kind, Step
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import BYTES_PER_ELEMENT, Id, Plan, Precision, Tensor

ALIGNMENT = 64
_CHUNK_ELEMENTS = 1 << 19
"""Packed at a time, so that packing takes no more memory than running."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One array of the packed file: the weights of a step, its bias, or a constant operand."""

    step: Step | None
    """None for a bias or a constant, which are FP32 and in the plan's order."""
    tensor: Tensor
    offset: int
    shape: tuple[int, ...]
    """As it is packed."""
    precision: Precision

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * BYTES_PER_ELEMENT[self.precision]


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each array of a network lies in its packed file; `bytes` in all."""

    parcels: tuple[Parcel, ...]
    filters: dict[tuple[Id, Kind, int], int]
    """Byte offsets by tensor, kind of step and groups; a filter that several steps use is there once."""
    biases: dict[tuple[Id, int], int]
    """Byte offsets by tensor and groups."""
    constants: dict[Id, int]
    bytes: int

    @property
    def digest(self) -> str:
        """Another one wherever an array lies elsewhere or is ordered for another kernel."""
        lines = [
            f"{parcel.step and (parcel.step.kind, parcel.step.groups)} {parcel.tensor.offset} {parcel.offset}"
            f" {parcel.shape} {parcel.precision}\n"
            for parcel in self.parcels
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def weights_of(self, step: Step) -> tuple[int, int]:
        """The byte offsets of the filter and the bias of a step; 0 where it has none."""
        if step.filter is None or step.bias is None:
            return 0, 0
        return self.filters[step.filter, step.kind, step.groups], self.biases[step.bias, _bias_groups(step)]


def plan_packing(plan: Plan, steps: Sequence[Step], lanes: int) -> Packing:
    """Lay the weights out in the order of use; `lanes` output channels lie side by side."""
    parcels: list[Parcel] = []
    filters: dict[tuple[Id, Kind, int], int] = {}
    biases: dict[tuple[Id, int], int] = {}
    constants: dict[Id, int] = {}
    end = 0

    def put(step: Step | None, tensor: Tensor, shape: tuple[int, ...], precision: Precision) -> int:
        nonlocal end
        parcel = Parcel(step, tensor, end, shape, precision)
        parcels.append(parcel)
        end += -(-parcel.bytes // ALIGNMENT) * ALIGNMENT
        return parcel.offset

    for step in steps:
        if step.filter is not None and step.bias is not None:
            filter_, bias = plan.tensors[step.filter], plan.tensors[step.bias]
            filter_key = (step.filter, step.kind, step.groups)
            if filter_key not in filters:
                shape = packed_shape(step, filter_.shape, lanes)
                filters[filter_key] = put(step, filter_, shape, plan.precision)
            groups = _bias_groups(step)
            if (step.bias, groups) not in biases:
                padded = _round_up(bias.elements // groups, lanes)
                biases[step.bias, groups] = put(None, bias, (groups, padded), "fp32")
        if step.other is None or step.other in constants:
            continue
        if plan.tensors[step.other].offset is not None:
            other = plan.tensors[step.other]
            constants[step.other] = put(None, other, (1, other.elements), "fp32")
    return Packing(tuple(parcels), filters, biases, constants, end)


def _bias_groups(step: Step) -> int:
    """The groups whose biases are padded to whole panels, each for itself."""
    return 1 if step.kind is Kind.DEPTHWISE else step.groups


def packed_shape(step: Step, shape: Sequence[int], lanes: int) -> tuple[int, ...]:
    """The shape of a filter as the kernel of `step` reads it; `shape` is the plan's."""
    if step.kind is Kind.CONNECTED:
        return (-(-shape[0] // lanes), math.prod(shape[1:]), lanes)
    outputs, height, width, inputs = shape
    taps = height * width
    if step.kind is Kind.DEPTHWISE:
        return (taps, _round_up(outputs, lanes))
    panels = step.groups * -(-(outputs // step.groups) // lanes)
    return (panels, inputs, taps, lanes) if step.kind is Kind.WINOGRAD else (panels, taps, inputs, lanes)


def pack(parcel: Parcel, values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the array of a parcel in pieces, in order; `values` are its tensor's, in the plan's shape."""
    if parcel.step is None:
        yield _padded(values.reshape(parcel.shape[0], -1), parcel.shape[1]).astype("<f4")
    elif parcel.step.kind is Kind.DEPTHWISE:
        taps, padded = parcel.shape
        yield np.ascontiguousarray(_padded(values.reshape(-1, taps).T, padded))
    else:
        yield from _panels(parcel, parcel.step, values)


def _panels(parcel: Parcel, step: Step, values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    lanes = parcel.shape[-1]
    a_panel = math.prod(parcel.shape[1:])
    at_once = max(1, _CHUNK_ELEMENTS // a_panel) * lanes
    group_outputs = values.shape[0] // step.groups
    for group in range(step.groups):
        outputs = values[group * group_outputs : (group + 1) * group_outputs]
        for begin in range(0, group_outputs, at_once):
            some = outputs[begin : begin + at_once]
            padding = -len(some) % lanes
            if padding:
                some = np.concatenate((some, np.zeros((padding, *some.shape[1:]), some.dtype)))
            yield np.ascontiguousarray(_reordered(step, some.reshape(len(some) // lanes, lanes, -1)))


def _reordered(step: Step, panels: NDArray[Any]) -> NDArray[Any]:
    """Panels of (panels, lanes, numbers of a filter) in the kernel's order."""
    if step.kind is Kind.WINOGRAD:
        return panels.reshape(*panels.shape[:2], 9, -1).transpose(0, 3, 2, 1)
    return panels.transpose(0, 2, 1)


def _padded(values: NDArray[Any], columns: int) -> NDArray[Any]:
    padded = np.zeros((values.shape[0], columns), values.dtype)
    padded[:, : values.shape[1]] = values
    return padded


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

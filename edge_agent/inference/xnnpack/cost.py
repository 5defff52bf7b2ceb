"""Says what a plan will take of memory before any of it is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import (
    BYTES_PER_ELEMENT,
    Conv2d,
    FullyConnected,
    Operation,
    Plan,
    Pool2d,
    Precision,
    Tensor,
    activations_read,
)

_TILE = 8  # output channels are packed by at least so many
_POINTER_BYTES = 8


@dataclass(frozen=True, slots=True)
class PlanCost:
    """What a plan takes in the library at the least, in MB: kernels may pad their weights to more."""

    weights_mb: float
    tables_mb: float
    """Of pointers to the input of each window."""
    activations_mb: float

    @property
    def total_mb(self) -> float:
        return self.weights_mb + self.tables_mb + self.activations_mb


def plan_cost(plan: Plan, arithmetic: Precision) -> PlanCost:
    """Return what a verified plan will take when it is computed in `arithmetic`."""
    element = BYTES_PER_ELEMENT[arithmetic]
    weights = sum(_packed_elements(operation, plan.tensors) for operation in plan.operations)
    pointers = sum(_pointers(operation, plan.tensors) for operation in plan.operations)
    mb = 1e-6
    return PlanCost(
        weights * element * mb, pointers * _POINTER_BYTES * mb, _most_at_once(plan) * element * mb
    )


def _packed_elements(operation: Operation, tensors: Sequence[Tensor]) -> int:
    match operation:
        case Conv2d(filter=filter_, groups=groups):
            outputs, height, width, inputs = tensors[filter_].shape
            in_tiles = _tiled(outputs) if inputs == 1 else groups * _tiled(outputs // groups)
            return in_tiles * height * width * inputs
        case FullyConnected(filter=filter_):
            outputs, inputs = tensors[filter_].shape
            return _tiled(outputs) * inputs
        case _:
            return 0


def _tiled(outputs: int) -> int:
    return -(-outputs // _TILE) * _TILE


def _pointers(operation: Operation, tensors: Sequence[Tensor]) -> int:
    """At least one for each element of a column of windows, where windows are of more than one."""
    match operation:
        case Conv2d(filter=filter_, output=output):
            kernel = tensors[filter_].shape[1:3]
        case Pool2d(kernel=kernel, output=output):
            pass
        case _:
            return 0
    _, height, width, _ = tensors[output].shape
    return height * width * kernel[0] if math.prod(kernel) > 1 else 0


def _most_at_once(plan: Plan) -> int:
    """The most elements of activations and constant operands that are needed in one step."""
    steps = len(plan.operations)
    first, last = {plan.input: 0}, {plan.input: 0}
    for step, operation in enumerate(plan.operations):
        first[operation.output] = last[operation.output] = step
        for identifier in activations_read(operation):
            first.setdefault(identifier, 0)  # a constant operand is there from the beginning
            last[identifier] = steps if plan.tensors[identifier].offset is not None else step
    last[plan.output] = steps
    changes = [0] * (steps + 2)
    for identifier, begin in first.items():
        changes[begin] += plan.tensors[identifier].elements
        changes[last[identifier] + 1] -= plan.tensors[identifier].elements
    return max(accumulate(changes))

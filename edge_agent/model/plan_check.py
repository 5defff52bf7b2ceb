"""Verifies a plan before any memory is allocated or any pointer made for it: nothing in a plan is trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_agent.model.plan import (
    ALIGNMENT,
    BYTES_PER_ELEMENT,
    MAX_DIMENSION,
    Activation,
    Arithmetic,
    Conv2d,
    FullyConnected,
    Ids,
    Operation,
    Plan,
    PlanError,
    Pool2d,
    Tensor,
    activations_read,
    describe,
    output_shape,
    require,
    weights_read,
)

MAX_TENSORS = 20_000
MAX_MEMORY_BYTES = 1 << 30
"""For packed weights, activations and index tables; VGG-16, the largest common network, needs 0.6 GiB."""
MAX_MULTIPLICATIONS = 10**11
"""For one picture; VGG-19, the slowest common network, needs 2e10."""


def check_plan(plan: Plan) -> None:
    """Verify every id, shape, offset and parameter, and that memory and time are bounded. Raises PlanError.

    An operation reads only what operations before it made, so there is no cycle, and each activation is made
    once. Each declared shape is the one that its operation makes of its operands.
    """
    require(plan.weights_bytes > 0, "it has no weights")
    _check_tensors(plan)
    require(
        0 <= plan.input < len(plan.tensors), f"the plan's input is tensor {plan.input}, which is not there"
    )
    require(plan.tensors[plan.input].offset is None, "the plan's input is a constant")
    require(len(plan.input_shape) == 4, f"the plan's input has shape {plan.input_shape}, not four dimensions")
    made = {plan.input}
    for index, operation in enumerate(plan.operations):
        try:
            _check_operation(operation, plan.tensors, made)
        except PlanError as error:
            raise PlanError(f"{describe(index, operation)}: {error}") from None
        made.add(operation.output)
    require(
        plan.output in made and plan.output != plan.input,
        f"no operation makes the plan's output {plan.output}",
    )
    activations = sum(tensor.offset is None for tensor in plan.tensors)
    require(len(made) == activations, f"{activations - len(made)} activations are made by no operation")
    _check_cost(plan)


def _check_tensors(plan: Plan) -> None:
    require(
        0 < len(plan.tensors) <= MAX_TENSORS, f"it has {len(plan.tensors)} tensors, not 1 to {MAX_TENSORS}"
    )
    size = BYTES_PER_ELEMENT[plan.precision]
    for identifier, tensor in enumerate(plan.tensors):
        require(
            1 <= len(tensor.shape) <= 4 and all(1 <= length <= MAX_DIMENSION for length in tensor.shape),
            f"tensor {identifier} has the impossible shape {tensor.shape}",
        )
        if tensor.offset is None:
            require(
                tensor.shape[0] == 1, f"tensor {identifier} of shape {tensor.shape} is not of one picture"
            )
            continue
        require(
            tensor.offset >= 0 and tensor.offset % ALIGNMENT == 0,
            f"tensor {identifier} begins at byte {tensor.offset}, not at a multiple of {ALIGNMENT}",
        )
        require(
            tensor.offset + tensor.elements * size <= plan.weights_bytes,
            f"tensor {identifier} ends beyond the {plan.weights_bytes} bytes of weights",
        )


def _check_operation(operation: Operation, tensors: Sequence[Tensor], made: set[int]) -> None:
    for identifier in (*activations_read(operation), *weights_read(operation), operation.output):
        require(0 <= identifier < len(tensors), f"it names tensor {identifier}, which is not there")
    for identifier in _activations_only(operation, tensors):
        require(identifier in made, f"it reads tensor {identifier}, which nothing before it makes")
    for identifier in weights_read(operation):
        require(
            tensors[identifier].offset is not None, f"its weights, tensor {identifier}, are not a constant"
        )
    require(tensors[operation.output].offset is None, f"it writes to tensor {operation.output}, a constant")
    require(operation.output not in made, f"it writes to tensor {operation.output}, which is already made")
    if isinstance(operation, Conv2d | FullyConnected | Arithmetic | Activation):
        require(
            operation.bounds.low < operation.bounds.high, f"its bounds {tuple(operation.bounds)} are empty"
        )
    shape, declared = output_shape(operation, tensors), tensors[operation.output].shape
    require(shape == declared, f"it makes a tensor of shape {shape}, declared is {declared}")


def _activations_only(operation: Operation, tensors: Sequence[Tensor]) -> Ids:
    if isinstance(operation, Arithmetic) and tensors[operation.right].offset is not None:
        return (operation.left,)
    return activations_read(operation)


def _check_cost(plan: Plan) -> None:
    memory = most_bytes(plan)
    work = sum(multiplications(operation, plan.tensors) for operation in plan.operations)
    require(
        memory <= MAX_MEMORY_BYTES, f"it could need {memory >> 20} MiB, the limit is {MAX_MEMORY_BYTES >> 20}"
    )
    require(
        work <= MAX_MULTIPLICATIONS,
        f"it needs {work:.3g} multiplications, the limit is {MAX_MULTIPLICATIONS:.3g}",
    )


def most_bytes(plan: Plan) -> int:
    """Return what a verified plan takes of memory at the most, if nothing of it is shared."""
    activations = sum(4 * tensor.elements for tensor in plan.tensors if tensor.offset is None)
    return activations + sum(_packed_bytes(operation, plan.tensors) for operation in plan.operations)


def _packed_bytes(operation: Operation, tensors: Sequence[Tensor]) -> int:
    """At most what XNNPACK allocates: weights padded to its tiles, a pointer for each input of a window."""
    tile_outputs, tile_inputs, bytes_per_weight, bytes_per_pointer = 64, 8, 4, 8
    match operation:
        case Conv2d(filter=filter_, groups=groups, output=output):
            outputs, height, width, inputs = tensors[filter_].shape
            depthwise = inputs == 1 and outputs == groups
            columns = (
                _round_up(outputs, tile_outputs)
                if depthwise
                else groups * _round_up(outputs // groups, tile_outputs)
            )
            rows = height * width * (1 if depthwise else _round_up(inputs, tile_inputs))
            positions = math.prod(tensors[output].shape[1:3])
            return columns * rows * bytes_per_weight + positions * height * width * bytes_per_pointer
        case FullyConnected(filter=filter_):
            outputs, inputs = tensors[filter_].shape
            return _round_up(outputs, tile_outputs) * _round_up(inputs, tile_inputs) * bytes_per_weight
        case Pool2d(kernel=kernel, output=output):
            return math.prod(tensors[output].shape[1:3]) * math.prod(kernel) * bytes_per_pointer
        case _:
            return 0


def multiplications(operation: Operation, tensors: Sequence[Tensor]) -> int:
    """Return how many multiplications, or comparable steps, an operation takes for one picture."""
    match operation:
        case Conv2d(filter=filter_):
            return tensors[operation.output].elements * math.prod(tensors[filter_].shape[1:])
        case FullyConnected(filter=filter_):
            return tensors[filter_].elements
        case Pool2d(kernel=kernel):
            return tensors[operation.output].elements * math.prod(kernel)
        case _:
            return tensors[operation.output].elements


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

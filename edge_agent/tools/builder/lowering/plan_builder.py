"""Builds the plan of a network: operations with their weights, fused as they are added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.model.plan import (
    UNBOUNDED,
    Activation,
    Arithmetic,
    ArithmeticKind,
    Bounds,
    Conv2d,
    FullyConnected,
    Operation,
    PlanError,
    Shape,
    Tensor,
    output_shape,
)

Array = NDArray[np.float32]


class LoweringError(ModelError):
    """A model cannot be lowered; the message names the operation and the module that it came from."""


class PlanBuilder:
    """Grows by one operation at a time.

    An activation or a scaling that follows a convolution or a linear layer, and is the only one to read its
    result, becomes part of it.
    """

    def __init__(self, input_shape: Shape) -> None:
        self.tensors: list[Tensor] = [Tensor(input_shape)]
        self.constants: dict[int, Array] = {}
        self.operations: list[Operation] = []
        self._makers: dict[int, int] = {}

    def constant(self, values: Array) -> int:
        """Add a constant; its offset in the weights blob is not known yet."""
        self.tensors.append(Tensor(values.shape, offset=0))
        self.constants[len(self.tensors) - 1] = np.ascontiguousarray(values, np.float32)
        return len(self.tensors) - 1

    def add(self, operation: Operation) -> int:
        """Append an operation and return its `output`, which is chosen here. Raises LoweringError."""
        try:
            shape = output_shape(operation, self.tensors)
        except PlanError as error:
            raise LoweringError(str(error)) from None
        self.tensors.append(Tensor(shape))
        output = len(self.tensors) - 1
        self._makers[output] = len(self.operations)
        self.operations.append(replace(operation, output=output))
        return output

    def clamp(self, name: str, tensor: int, bounds: Bounds, *, alone: bool) -> int:
        """Clamp a tensor, where possible in what makes it. `alone`: nothing else reads it."""
        maker = self._maker(tensor)
        if alone and isinstance(maker, Conv2d | FullyConnected | Arithmetic) and maker.bounds == UNBOUNDED:
            self._replace(tensor, replace(maker, bounds=bounds))
            return tensor
        return self.add(Activation(name, "clamp", tensor, 0, bounds))

    def scale(self, name: str, tensor: int, factor: Array, term: Array, *, alone: bool) -> int:
        """Return tensor * factor + term, each one value or one value a channel; see `clamp` for `alone`."""
        maker = self._maker(tensor)
        if alone and isinstance(maker, Conv2d | FullyConnected) and maker.bounds == UNBOUNDED:
            self._fold(maker, factor, term)
            return tensor
        if np.any(factor != 1):
            tensor = self._with_constant(name, "multiply", tensor, factor)
        if np.any(term != 0):
            tensor = self._with_constant(name, "add", tensor, term)
        return tensor

    def _fold(self, maker: Conv2d | FullyConnected, factor: Array, term: Array) -> None:
        weights, bias = self.constants[maker.filter], self.constants[maker.bias]
        by_output = factor.reshape((-1,) + (1,) * (weights.ndim - 1))
        self.constants[maker.filter] = weights * by_output
        self.constants[maker.bias] = bias * factor + term

    def _with_constant(self, name: str, kind: ArithmeticKind, tensor: int, values: Array) -> int:
        return self.add(Arithmetic(name, kind, tensor, self.constant(values), 0))

    def _maker(self, tensor: int) -> Operation | None:
        index = self._makers.get(tensor)
        return None if index is None else self.operations[index]

    def _replace(self, tensor: int, operation: Operation) -> None:
        self.operations[self._makers[tensor]] = operation

"""Carries out the operations that code calls: on activations they are recorded, on constants computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edge_agent.system.text import printable
from edge_agent.tools.builder.lowering.plan_builder import LoweringError
from edge_agent.tools.builder.symbolic import arrays, plain
from edge_agent.tools.builder.symbolic.budget import Budget
from edge_agent.tools.builder.symbolic.recorded import Activation, activations_in
from edge_agent.tools.builder.symbolic.recorder import Recorder

_FLOAT32 = 6

_ON_ANYTHING = {
    "aten::__is__", "aten::__isnot__", "aten::_unwrap_optional", "aten::format", "aten::warn",
    "prim::ListConstruct", "prim::Print", "prim::RaiseException", "prim::TupleConstruct",
}  # fmt: skip
"""What does not look into its operands."""

_IDENTITIES = {"aten::cpu", "aten::to", "aten::type_as", "prim::data"}
"""On an activation: a plan has one precision, and one device."""

# What is asked about a tensor, by its shape and its type.
_QUESTIONS: dict[str, Callable[[list[int], int], object]] = {
    "aten::dim": lambda shape, _: len(shape),
    "aten::is_complex": lambda _shape, _: False,
    "aten::is_contiguous": lambda _shape, _: True,
    "aten::is_floating_point": lambda _, dtype: arrays.is_floating(dtype),
    "aten::len": lambda shape, _: shape[0],
    "aten::numel": lambda shape, _: math.prod(shape),
    "aten::size": lambda shape, _: shape,
    "prim::device": lambda _shape, _: "cpu",
    "prim::dtype": lambda _, dtype: dtype,
    "prim::is_cuda": lambda _shape, _: False,
    "prim::is_mkldnn": lambda _shape, _: False,
    "prim::is_nested": lambda _shape, _: False,
    "prim::is_quantized": lambda _shape, _: False,
    "prim::is_sparse": lambda _shape, _: False,
    "prim::layout": lambda _shape, _: 0,
    "prim::ndim": lambda shape, _: len(shape),
    "prim::requires_grad": lambda _shape, _: False,
    "prim::shape": lambda shape, _: shape,
}


class OperationError(LoweringError):
    """An operation cannot be carried out; the message begins with it and the module that it came from."""


class Operations:
    """Carries out operations by their kind, `aten::relu` for instance."""

    def __init__(self, recorder: Recorder, budget: Budget) -> None:
        self._recorder = recorder
        self._budget = budget

    def call(self, kind: str, arguments: Sequence[object], named: Mapping[str, object], name: str) -> object:
        """Return the result of an operation that module `name` calls. Raises OperationError."""
        try:
            self._budget.steps(sum(len(each) for each in arguments if isinstance(each, list | tuple)))
            return self._result(kind, arguments, named, name)
        except LoweringError as error:
            reason = str(error)
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            reason = f"its arguments are not those of this operation: {printable(str(error), 200)}"
        raise OperationError(f"{printable(kind, 100)} of {name}: {reason}")

    def _result(
        self, kind: str, arguments: Sequence[object], named: Mapping[str, object], name: str
    ) -> object:
        first = arguments[0] if arguments else None
        if "mkldnn" in kind.lower():
            raise LoweringError(
                "the file has no weights, because torch.jit.optimize_for_inference took them out: save the"
                " module as it was before"
            )
        if kind in _QUESTIONS and isinstance(first, Activation | np.ndarray):
            return self._answer(kind, first, *arguments[1:])
        if kind in _ON_ANYTHING or (
            isinstance(first, list | tuple | dict | str) and plain.works_on_containers(kind)
        ):
            return plain.calculate(self._budget, kind, arguments)
        if any(True for _ in activations_in((*arguments, *named.values()))):
            if kind in _IDENTITIES and isinstance(first, Activation):
                return _converted(first, (*arguments[1:], named.get("dtype")))
            return self._recorder.record(kind, arguments, named, name)
        if kind in arrays.CREATES or _has_array(arguments):
            return arrays.compute(self._budget, kind, arguments, dict(named))
        return plain.calculate(self._budget, kind, [*arguments, *named.values()])

    def _answer(self, kind: str, tensor: Any, axis: Any = None) -> object:
        if isinstance(tensor, Activation):
            shape, dtype = self._recorder.shape(tensor), _FLOAT32
        else:
            shape, dtype = list(tensor.shape), arrays.dtype_number(tensor)
        return shape[axis] if kind == "aten::size" and axis is not None else _QUESTIONS[kind](shape, dtype)


def _converted(activation: Activation, arguments: Sequence[object]) -> Activation:
    dtype = next(
        (each for each in arguments if isinstance(each, int) and not isinstance(each, bool)), _FLOAT32
    )
    if not arrays.is_floating(dtype):
        raise LoweringError("an activation is only known in floating-point numbers")
    return activation.view(activation.node)  # perhaps a copy, perhaps not


def _has_array(arguments: Sequence[object]) -> bool:
    members = (each for one in arguments for each in (one if isinstance(one, list | tuple) else (one,)))
    return any(isinstance(each, np.ndarray) for each in members)

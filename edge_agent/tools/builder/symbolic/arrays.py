"""Operations on constant tensors: read-only numpy arrays of the dtype that they have.

Half precision is computed in single precision. Nothing here is computed before its size is known and allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.tools.builder.lowering.plan_builder import LoweringError
from edge_agent.tools.builder.symbolic.budget import Budget

Constant = NDArray[Any]

_DTYPES: dict[int, Any] = {
    0: np.uint8, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.int64, 5: np.float16, 6: np.float32,
    7: np.float64, 11: np.bool_, 15: np.float32,
}  # fmt: skip
"""The types as TorchScript numbers them; 15 is BF16, which is kept in single precision."""
_FLOATING = (5, 6, 7, 15)
_FLOAT32 = 6


def compute(budget: Budget, kind: str, arguments: Sequence[Any], named: dict[str, Any]) -> object:
    """Return what the operation `kind` makes of constant tensors and plain values. Raises LoweringError."""
    if kind not in _OPERATIONS:
        raise LoweringError("this operation is not known on constants")
    with np.errstate(all="ignore"):
        result = _OPERATIONS[kind](budget, *arguments, **named)
    if isinstance(result, np.ndarray | np.generic):
        result = np.asarray(result)
        result.flags.writeable = False
    return result


def dtype_number(array: Constant) -> int:
    """Return the type of an array as TorchScript numbers it."""
    return next((number for number, kind in _DTYPES.items() if array.dtype == kind), _FLOAT32)


def is_floating(dtype: object) -> bool:
    """Whether the number of a type, as TorchScript has it, is that of a floating-point type."""
    return dtype in _FLOATING


def _elementwise(function: Callable[..., Any]) -> Callable[..., object]:
    def handler(budget: Budget, *operands: Any) -> object:
        shapes = [each.shape for each in operands if isinstance(each, np.ndarray)]
        budget.compute(np.broadcast_shapes(*shapes))
        return function(*_operands(operands))

    return handler


def _operands(operands: Sequence[Any]) -> list[Constant]:
    """Arrays of one type, as torch promotes: scalars only count where they are floats among integers."""
    if not all(isinstance(operand, bool | int | float | np.ndarray) for operand in operands):
        raise LoweringError("it is only known for tensors and numbers")
    tensors = [operand for operand in operands if isinstance(operand, np.ndarray)]
    ranked = [tensor.dtype for tensor in tensors if tensor.ndim] or [tensor.dtype for tensor in tensors]
    floats = [dtype for dtype in ranked if dtype.kind == "f"]
    scalars = [np.asarray(operand).dtype for operand in operands]
    common = np.result_type(*(floats or ranked))
    if common == np.float16 or (not floats and any(dtype.kind == "f" for dtype in scalars)):
        common = np.dtype(np.float32)
    return [np.asarray(operand, common) for operand in operands]


def _scaled(function: Callable[..., Any]) -> Callable[..., object]:
    """Addition or subtraction, with the factor of its second operand."""

    def handler(budget: Budget, left: Any, right: Any, alpha: float = 1) -> object:
        compute = _elementwise(lambda x, y: function(x, y * x.dtype.type(alpha)))
        return compute(budget, left, right)

    return handler


def _div(budget: Budget, left: Any, right: Any, rounding_mode: str | None = None) -> object:
    if rounding_mode is not None:
        raise LoweringError("it is only known without rounding")
    return _elementwise(_quotient)(budget, left, right)


def _quotient(left: Constant, right: Constant) -> Constant:
    return np.asarray(np.true_divide(left, right, dtype=left.dtype if left.dtype.kind == "f" else np.float32))


def _same(_: Budget, array: Any, *_arguments: Any, **_named: Any) -> Any:
    return array


def _to(budget: Budget, array: Any, *arguments: Any, **named: Any) -> object:
    """Another type; between floating-point types nothing is done, since a plan has a precision of its own."""
    numbers = [
        each for each in (*arguments, named.get("dtype")) if each in _DTYPES and not isinstance(each, bool)
    ]
    if not numbers or (array.dtype.kind == "f" and is_floating(numbers[0])):
        return array
    budget.compute(array.shape)
    return array.astype(_DTYPES[numbers[0]])


def _transpose(_: Budget, array: Any, first: int, second: int) -> object:
    return np.swapaxes(array, first, second)


def _reshape(budget: Budget, array: Any, shape: Any) -> object:
    budget.compute(array.shape)  # numpy may have to copy
    return array.reshape(shape)


def _flatten(budget: Budget, array: Any, start: int = 0, end: int = -1) -> object:
    last = end % array.ndim + 1
    return _reshape(budget, array, (*array.shape[:start], -1, *array.shape[last:]))


def _squeeze(_: Budget, array: Any, axis: int | None = None) -> object:
    if axis is not None and array.shape[axis] != 1:
        return array
    return np.squeeze(array, axis)


def _expand(_: Budget, array: Any, shape: Any, *_arguments: Any, **_named: Any) -> object:
    """A view; whoever computes with it is asked for its size."""
    missing = len(shape) - array.ndim
    own = (*(1 for _ in range(missing)), *array.shape)
    return np.broadcast_to(
        array, [was if wanted == -1 else wanted for wanted, was in zip(shape, own, strict=True)]
    )


def _cat(budget: Budget, arrays: Any, axis: int = 0) -> object:
    budget.compute([sum(array.size for array in arrays)])
    return np.concatenate(_operands(arrays), axis)


def _select(_: Budget, array: Any, axis: int, index: int) -> object:
    return array[(slice(None),) * (axis % array.ndim) + (index,)]


def _slice(
    _: Budget, array: Any, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> object:
    return array[(slice(None),) * (axis % array.ndim) + (slice(start, end, step),)]


def _filled(value: float) -> Callable[..., object]:
    def handler(budget: Budget, shape: Any, dtype: int | None = None, *_: Any, **_named: Any) -> object:
        budget.compute(shape)
        return np.full(shape, value, _DTYPES[_FLOAT32 if dtype is None else dtype])

    return handler


def _arange(budget: Budget, *bounds: Any, dtype: int | None = None, **_named: Any) -> object:
    if not all(isinstance(bound, int | float) for bound in bounds):
        raise LoweringError("it is only known for numbers")
    start, end, step = (*bounds, 1) if len(bounds) == 2 else bounds if len(bounds) == 3 else (0, *bounds, 1)
    budget.compute((max(0, math.ceil((end - start) / step)),))
    natural = np.float32 if any(isinstance(bound, float) for bound in bounds) else np.int64
    return np.arange(start, end, step).astype(natural if dtype is None else _DTYPES[dtype])


def _full(budget: Budget, shape: Any, value: Any, dtype: int | None = None, **_named: Any) -> object:
    budget.compute(shape)
    return np.full(shape, value, _DTYPES[_FLOAT32 if dtype is None else dtype])


def _like(value: float) -> Callable[..., object]:
    def handler(budget: Budget, array: Any, *_: Any, **_named: Any) -> object:
        budget.compute(array.shape)
        return np.full(array.shape, value, array.dtype)

    return handler


def _tensor(budget: Budget, data: Any, dtype: int | None = None, *_: Any, **_named: Any) -> object:
    members = data if isinstance(data, list) else [data]
    budget.compute((len(members),))
    if not all(isinstance(each, bool | int | float | np.ndarray) for each in members):
        raise LoweringError("it is only known for numbers, and for lists of them")
    values = np.asarray(data)
    natural = np.float32 if values.dtype.kind == "f" else values.dtype
    return values.astype(natural if dtype is None else _DTYPES[dtype])


def _number(function: Callable[[Any], object]) -> Callable[..., object]:
    def handler(_: Budget, array: Any) -> object:
        return function(array.item()) if isinstance(array, np.ndarray) else function(array)

    return handler


CREATES = {"aten::arange", "aten::full", "aten::ones", "aten::scalar_tensor", "aten::tensor", "aten::zeros"}
"""Operations on plain values whose result is a tensor."""

_OPERATIONS: dict[str, Callable[..., object]] = {
    "aten::Bool": _number(bool),
    "aten::Float": _number(float),
    "aten::FloatImplicit": _number(float),
    "aten::Int": _number(int),
    "aten::IntImplicit": _number(int),
    "aten::ScalarImplicit": _number(lambda value: value),
    "aten::abs": _elementwise(np.abs),
    "aten::add": _scaled(np.add),
    "aten::alias": _same,
    "aten::arange": _arange,
    "aten::cat": _cat,
    "aten::clone": _same,
    "aten::contiguous": _same,
    "aten::cpu": _same,
    "aten::detach": _same,
    "aten::div": _div,
    "aten::eq": _elementwise(np.equal),
    "aten::exp": _elementwise(np.exp),
    "aten::expand": _expand,
    "aten::flatten": _flatten,
    "aten::floor_divide": _elementwise(np.floor_divide),
    "aten::full": _full,
    "aten::ge": _elementwise(np.greater_equal),
    "aten::gt": _elementwise(np.greater),
    "aten::item": _number(lambda value: value),
    "aten::le": _elementwise(np.less_equal),
    "aten::lt": _elementwise(np.less),
    "aten::mul": _elementwise(np.multiply),
    "aten::ne": _elementwise(np.not_equal),
    "aten::neg": _elementwise(np.negative),
    "aten::ones": _filled(1),
    "aten::ones_like": _like(1),
    "aten::permute": lambda _, array, axes: np.transpose(array, axes),
    "aten::pow": _elementwise(np.power),
    "aten::reciprocal": _elementwise(lambda x: _quotient(np.ones((), x.dtype), x)),
    "aten::remainder": _elementwise(np.mod),
    "aten::reshape": _reshape,
    "aten::rsqrt": _elementwise(lambda x: 1 / np.sqrt(x)),
    "aten::rsub": lambda budget, array, other, alpha=1: _scaled(np.subtract)(budget, other, array, alpha),
    "aten::scalar_tensor": _tensor,
    "aten::select": _select,
    "aten::slice": _slice,
    "aten::sqrt": _elementwise(np.sqrt),
    "aten::squeeze": _squeeze,
    "aten::sub": _scaled(np.subtract),
    "aten::t": lambda _, array: array.T,
    "aten::tensor": _tensor,
    "aten::to": _to,
    "aten::transpose": _transpose,
    "aten::unsqueeze": lambda _, array, axis: np.expand_dims(array, axis),
    "aten::view": _reshape,
    "aten::zeros": _filled(0),
    "aten::zeros_like": _like(0),
    "prim::NumToTensor": _same,
    "prim::data": _same,
}

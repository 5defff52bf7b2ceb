"""Translates each operation of TorchScript into those of a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_agent.model.plan import (
    Activation,
    ActivationKind,
    Arithmetic,
    ArithmeticKind,
    Bounds,
    Concat,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Pair,
    Pool2d,
    PoolKind,
    Shape,
    Sides,
)
from edge_agent.tools.builder.lowering.plan_builder import Array, LoweringError, PlanBuilder

NO_PADDING: Sides = (0, 0, 0, 0)
_ONE, _ZERO = np.ones(1, np.float32), np.zeros(1, np.float32)


@dataclass(frozen=True, slots=True)
class Value:
    """An activation: a tensor of the plan, and how torch sees it.

    `flat`: torch sees a vector, in the order channel, row, column. `padding`: zeros that the next convolution
    is to add around the picture; top, right, bottom, left. `plane`: one channel, without its axis.
    """

    tensor: int
    flat: bool = False
    padding: Sides = NO_PADDING
    plane: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler uses: the plan so far, and the module that the node came from."""

    plan: PlanBuilder
    name: str
    readers: dict[int, int]

    def shape(self, value: Value) -> Shape:
        return self.plan.tensors[value.tensor].shape

    def alone(self, value: Value) -> bool:
        """Return whether this node is the only one that reads the value."""
        return self.readers.get(value.tensor, 1) == 1


def _conv2d(
    context: Context,
    value: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Value:
    source = _activation(value)
    filter_ = _array(weight)
    if filter_.ndim != 4 or not isinstance(padding, list):
        raise LoweringError("only two-dimensional convolutions with padding in numbers are known")
    vertical, horizontal = _pair(padding)
    top, right, bottom, left = source.padding
    operation = Conv2d(
        name=context.name,
        input=source.tensor,
        filter=context.plan.constant(filter_.transpose(0, 2, 3, 1)),
        bias=context.plan.constant(_bias(bias, len(filter_))),
        output=0,
        stride=_pair(stride),
        dilation=_pair(dilation),
        padding=(top + vertical, right + horizontal, bottom + vertical, left + horizontal),
        groups=groups,
    )
    return Value(context.plan.add(operation))


def _convolution(
    context: Context, value: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, *_: Any,
) -> Value:  # fmt: skip
    if transposed or any(output_padding):
        raise LoweringError("transposed convolutions are not known")
    return _conv2d(context, value, weight, bias, stride, padding, dilation, groups)


def _linear(context: Context, value: Value, weight: Any, bias: Any) -> Value:
    return _fully_connected(context, value, _array(weight), bias)


def _fully_connected(context: Context, value: Value, filter_: Array, bias: Any) -> Value:
    if not value.flat:
        raise LoweringError("a linear layer is only known on a flattened picture")
    shape = context.shape(value)
    if len(shape) == 4:  # torch flattens channel by channel, a plan pixel by pixel
        _, height, width, channels = shape
        by_pixel = filter_.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        filter_ = by_pixel.reshape(len(filter_), -1)
    operation = FullyConnected(
        name=context.name,
        input=value.tensor,
        filter=context.plan.constant(filter_),
        bias=context.plan.constant(_bias(bias, len(filter_))),
        output=0,
    )
    return Value(context.plan.add(operation), flat=True)


def _addmm(context: Context, bias: Any, value: Any, weight: Any, beta: float = 1, alpha: float = 1) -> Value:
    if beta != 1 or alpha != 1:
        raise LoweringError("addmm is only known with beta and alpha 1")
    return _fully_connected(context, _unpadded(value), _array(weight).T, bias)


def _matmul(context: Context, value: Any, weight: Any) -> Value:
    return _fully_connected(context, _unpadded(value), _array(weight).T, None)


def _batch_norm(
    context: Context, value: Value, weight: Any, bias: Any, mean: Any, variance: Any, training: bool,
    _momentum: float, epsilon: float, *_: Any,
) -> Value:  # fmt: skip
    if training:
        raise LoweringError("the model is in training mode; call eval() before it is frozen")
    deviation: Array = np.sqrt(_array(variance) + np.float32(epsilon))
    factor = _ONE / deviation
    if weight is not None:
        factor = factor * _array(weight)
    term = -_array(mean) * factor + (_ZERO if bias is None else _array(bias))
    return _scale(context, value, factor, term)


def _scale(context: Context, value: Value, factor: Array, term: Array) -> Value:
    tensor = context.plan.scale(context.name, value.tensor, factor, term, alone=context.alone(value))
    return replace(value, tensor=tensor)


def _clamp(context: Context, value: Value, low: float | None, high: float | None) -> Value:
    bounds = Bounds(-math.inf if low is None else float(low), math.inf if high is None else float(high))
    tensor = context.plan.clamp(context.name, value.tensor, bounds, alone=context.alone(value))
    return replace(value, tensor=tensor)


def _relu(context: Context, value: Value) -> Value:
    return _clamp(context, value, 0, None)


def _relu6(context: Context, value: Value) -> Value:
    return _clamp(context, value, 0, 6)


def _hardsigmoid(context: Context, value: Value) -> Value:
    """relu6(x + 3) / 6, which is x / 6 + 1 / 2 clamped to 0..1."""
    scaled = _scale(context, value, _ONE / np.float32(6), _ONE / np.float32(2))
    alone = scaled.tensor != value.tensor or context.alone(value)
    tensor = context.plan.clamp(context.name, scaled.tensor, Bounds(0.0, 1.0), alone=alone)
    return replace(value, tensor=tensor)


def _elementwise(kind: ActivationKind) -> Callable[[Context, Any], Value]:
    def handler(context: Context, value: Value) -> Value:
        return replace(value, tensor=context.plan.add(Activation(context.name, kind, value.tensor, 0)))

    return handler


def _silu(context: Context, value: Value) -> Value:
    return _combine(context, "multiply", value, _elementwise("sigmoid")(context, value))


def _add(context: Context, left: Any, right: Any, alpha: float = 1) -> Value:
    return _plus(context, left, right, float(alpha))


def _sub(context: Context, left: Any, right: Any, alpha: float = 1) -> Value:
    return _plus(context, left, right, -float(alpha))


def _plus(context: Context, left: Any, right: Any, alpha: float) -> Value:
    if isinstance(left, Value) and isinstance(right, Value):
        if alpha != 1:
            raise LoweringError("subtracting or scaling one activation from another is not known")
        return _combine(context, "add", _unpadded(left), _unpadded(right))
    if isinstance(left, Value):
        return _scale(context, _unpadded(left), _ONE, _by_channel(context, left, right) * np.float32(alpha))
    # constant + alpha * activation
    source = _unpadded(right)
    return _scale(context, source, _ONE * np.float32(alpha), _by_channel(context, source, left))


def _mul(context: Context, left: Any, right: Any) -> Value:
    if isinstance(left, Value) and isinstance(right, Value):
        return _combine(context, "multiply", _unpadded(left), _unpadded(right))
    value, constant = (left, right) if isinstance(left, Value) else (right, left)
    source = _unpadded(value)
    return _scale(context, source, _by_channel(context, source, constant), _ZERO)


def _div(context: Context, left: Any, right: Any, rounding: str | None = None) -> Value:
    if isinstance(right, Value) or rounding is not None:
        raise LoweringError("dividing by an activation, or with rounding, is not known")
    source = _unpadded(left)
    return _scale(context, source, _ONE / _by_channel(context, source, right), _ZERO)


def _combine(context: Context, kind: ArithmeticKind, left: Value, right: Value) -> Value:
    if math.prod(context.shape(left)) < math.prod(context.shape(right)):
        left, right = right, left  # a plan broadcasts the right one
    if left.flat != right.flat:
        raise LoweringError("one operand is flattened, the other is not")
    operation = Arithmetic(context.name, kind, left.tensor, right.tensor, 0)
    return Value(context.plan.add(operation), flat=left.flat)


def _by_channel(context: Context, value: Value, constant: Any) -> Array:
    """A constant operand as one value, or one value a channel."""
    values = np.asarray(constant, np.float32) if isinstance(constant, int | float) else _array(constant)
    channels = context.shape(value)[-1]
    if values.size == 1:
        return values.reshape(1)
    expected = (channels,) if value.flat else (channels, 1, 1)
    if values.size != channels or values.shape[-len(expected) :] != expected:
        raise LoweringError(f"a constant of shape {values.shape} is not one value, or one value a channel")
    return values.reshape(channels)


def _max_pool2d(
    context: Context, value: Value, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Value:
    if _pair(dilation) != (1, 1):
        raise LoweringError("pooling with dilation is not known")
    return _pool2d(context, "max", value, kernel, stride, padding, ceil_mode)


def _avg_pool2d(
    context: Context, value: Value, kernel: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor: int | None,
) -> Value:  # fmt: skip
    if divisor is not None or (ceil_mode and count_include_pad and any(padding)):
        raise LoweringError("an average with a divisor of its own, or rounded up over padding, is not known")
    if count_include_pad and any(padding):
        return _average_with_zeros(context, value, _pair(kernel), stride or kernel, padding)
    return _pool2d(context, "average", value, kernel, stride, padding, ceil_mode)


def _average_with_zeros(context: Context, value: Value, window: Pair, stride: Any, padding: Any) -> Value:
    """An average that counts the zeros around the picture: a convolution of each channel by itself."""
    channels = context.shape(value)[-1]
    filter_ = np.full((channels, 1, *window), 1 / math.prod(window), np.float32)
    return _conv2d(context, value, filter_, None, stride, list(padding), [1], channels)


def _pool2d(
    context: Context, kind: PoolKind, value: Value, kernel: Any, stride: Any, padding: Any, ceil_mode: bool
) -> Value:
    window, step = _pair(kernel), _pair(stride or kernel)
    sides = [(before, before) for before in _pair(padding)]
    if ceil_mode:
        _, height, width, _ = context.shape(value)
        sides = [
            (before, before + _overhang(size, window[axis], step[axis], before))
            for axis, (size, (before, _)) in enumerate(zip((height, width), sides, strict=True))
        ]
    (top, bottom), (left, right) = sides
    if window == (1, 1) and step == (1, 1):
        return value
    operation = Pool2d(context.name, kind, value.tensor, 0, window, step, (top, right, bottom, left))
    return Value(context.plan.add(operation))


def _overhang(size: int, window: int, step: int, padding: int) -> int:
    """The padding that ceil_mode adds at the end, for a last window that begins inside (MaxPool2d)."""
    positions = math.ceil((size + 2 * padding - window) / step) + 1
    if (positions - 1) * step >= size + padding:
        positions -= 1
    return max(0, (positions - 1) * step + window - size - 2 * padding)


def _adaptive_avg_pool2d(context: Context, value: Value, size: Any) -> Value:
    _, height, width, _ = context.shape(value)
    rows, columns = (height if size[0] is None else size[0], width if size[1] is None else size[1])
    if (rows, columns) == (height, width):
        return value
    if (rows, columns) == (1, 1):
        return Value(context.plan.add(GlobalAveragePool(context.name, value.tensor, 0)))
    if height % rows or width % columns:
        raise LoweringError(
            f"averaging {height} x {width} to {rows} x {columns}, which do not divide, is not known"
        )
    window = (height // rows, width // columns)
    operation = Pool2d(context.name, "average", value.tensor, 0, window, window, NO_PADDING)
    return Value(context.plan.add(operation))


def _mean(context: Context, value: Value, axes: Any, keep: bool, _dtype: Any) -> Value:
    if value.flat or axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise LoweringError("a mean is only known over height and width")
    return replace(_adaptive_avg_pool2d(context, value, [1, 1]), flat=not keep)


def _flatten(_: Context, value: Value, start: int, end: int) -> Value:
    last = 1 if value.flat else 3
    if start != 1 or end not in (-1, last):
        raise LoweringError("flattening is only known from the channels to the end")
    return replace(value, flat=True)


def _view(context: Context, value: Value, shape: Any) -> Value:
    features = math.prod(context.shape(value))
    if len(shape) != 2 or shape[0] not in (1, -1) or shape[1] not in (features, -1):
        raise LoweringError(f"a view as {shape} is only known where it flattens")
    return replace(value, flat=True)


def _squeeze(context: Context, value: Value, axes: Any) -> Value:
    chosen = [axes] if isinstance(axes, int) else axes
    if value.flat or sorted(axis % 4 for axis in chosen) != [2, 3] or context.shape(value)[1:3] != (1, 1):
        raise LoweringError("squeezing is only known for height and width of 1")
    return replace(value, flat=True)


def _cat(context: Context, values: Any, axis: int) -> Value:
    members = [_unpadded(value) for value in values]
    if axis != 1 or any(value.flat for value in members):
        raise LoweringError("joining is only known along the channels of pictures")
    return Value(context.plan.add(Concat(context.name, tuple(value.tensor for value in members), 0)))


def _pad(_: Context, value: Any, amounts: Any, mode: str = "constant", fill: float | None = None) -> Value:
    source = _activation(value)
    if mode != "constant" or fill or len(amounts) != 4 or min(amounts) < 0:
        raise LoweringError("padding is only known with zeros around height and width")
    left, right, top, bottom = amounts
    sides = zip(source.padding, (top, right, bottom, left), strict=True)
    before_top, before_right, before_bottom, before_left = (old + new for old, new in sides)
    return replace(source, padding=(before_top, before_right, before_bottom, before_left))


def _constant_pad(context: Context, value: Any, amounts: Any, fill: float = 0) -> Value:
    return _pad(context, value, amounts, "constant", fill)


def _dropout(_: Context, value: Value, _probability: float, training: bool) -> Value:
    if training:
        raise LoweringError("the model is in training mode; call eval() before it is frozen")
    return _activation(value)


def _slice(context: Context, value: Any, axis: int, start: Any, end: Any, step: int = 1) -> Value:
    source = _unpadded(value)
    length = 1 if axis == 0 else _size(context, source, axis)
    if start not in (None, 0) or step != 1 or (end is not None and end < length):
        raise LoweringError("a part of an activation is only known where it is the whole")
    return source


def _select(context: Context, value: Any, axis: int, index: int) -> Value:
    """One channel, by a convolution that looks at it alone: networks normalise their input so."""
    source = _unpadded(value)
    channels = context.shape(source)[-1]
    if source.flat or axis != 1 or not 0 <= index < channels:
        raise LoweringError("selecting is only known for one channel of a picture")
    filter_ = np.zeros((1, channels, 1, 1), np.float32)
    filter_[0, index] = 1
    return replace(_conv2d(context, source, filter_, None, [1], [0], [1], 1), plane=True)


def _unsqueeze(_: Context, value: Any, axis: int) -> Value:
    if not isinstance(value, Value) or not value.plane or axis != 1:
        raise LoweringError("an axis is only known to be added where a channel was selected")
    return replace(value, plane=False)


def _same(_: Context, value: Any, *_arguments: Any) -> Any:
    return value


def _size(context: Context, value: Any, axis: int) -> int:
    source = _activation(value)
    shape = context.shape(source)
    if source.flat:
        return (1, math.prod(shape))[axis]
    batch, height, width, channels = shape
    top, right, bottom, left = source.padding
    return (batch, channels, height + top + bottom, width + left + right)[axis]


def _list(_: Context, *values: Any) -> list[Any]:
    return list(values)


def _activation(value: object) -> Value:
    if not isinstance(value, Value):
        raise LoweringError("it reads a constant where an activation is expected")
    if value.plane:
        raise LoweringError("a channel without its axis is only known where unsqueeze gives it one")
    return value


def _unpadded(value: object) -> Value:
    activation = _activation(value)
    if activation.padding != NO_PADDING:
        raise LoweringError("padding is only known before a convolution")
    return activation


def _array(tensor: Any) -> Array:
    """A constant of torch, or of an archive that was read without torch."""
    if isinstance(tensor, np.ndarray):
        return np.asarray(tensor, np.float32)
    if isinstance(tensor, Value) or not hasattr(tensor, "detach"):
        raise LoweringError("its weights are not constants: freeze the module first")
    values: Array = tensor.detach().float().cpu().numpy()
    return values


def _bias(bias: Any, outputs: int) -> Array:
    return np.zeros(outputs, np.float32) if bias is None else _array(bias)


def _pair(values: Sequence[int]) -> Pair:
    first, second = values if len(values) == 2 else (values[0], values[0])
    return first, second


LAYERS: dict[str, Callable[..., Value]] = {
    "aten::_adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "aten::adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "aten::avg_pool2d": _avg_pool2d,
    "aten::batch_norm": _batch_norm,
    "aten::clamp": _clamp,
    "aten::dropout": _dropout,
    "aten::feature_dropout": _dropout,
    "aten::flatten": _flatten,
    "aten::hardsigmoid": _hardsigmoid,
    "aten::hardswish": _elementwise("hardswish"),
    "aten::hardtanh": _clamp,
    "aten::linear": _linear,
    "aten::max_pool2d": _max_pool2d,
    "aten::mean": _mean,
    "aten::relu": _relu,
    "aten::relu6": _relu6,
    "aten::reshape": _view,
    "aten::sigmoid": _elementwise("sigmoid"),
    "aten::silu": _silu,
    "aten::squeeze": _squeeze,
    "aten::view": _view,
}
"""Handlers whose first operand must be an activation without padding."""

OTHERS: dict[str, Callable[..., object]] = {
    "aten::Int": _same,
    "aten::_convolution": _convolution,
    "aten::add": _add,
    "aten::addmm": _addmm,
    "aten::alias": _same,
    "aten::cat": _cat,
    "aten::clone": _same,
    "aten::constant_pad_nd": _constant_pad,
    "aten::contiguous": _same,
    "aten::conv2d": _conv2d,
    "aten::detach": _same,
    "aten::div": _div,
    "aten::matmul": _matmul,
    "aten::mul": _mul,
    "aten::pad": _pad,
    "aten::select": _select,
    "aten::size": _size,
    "aten::slice": _slice,
    "aten::sub": _sub,
    "aten::to": _same,
    "aten::unsqueeze": _unsqueeze,
    "prim::ListConstruct": _list,
    "prim::NumToTensor": _same,
}
"""Handlers that check their operands themselves."""


def handle(context: Context, kind: str, arguments: Sequence[object]) -> object:
    """Return what a node of that kind makes of its arguments. Raises LoweringError.

    A kind that ends in an underscore works in place; tracing has renamed its result, so that whoever reads
    the changed tensor reads this node.
    """
    for name in (kind, kind.removesuffix("_")):
        if name in LAYERS:
            return LAYERS[name](context, _unpadded(arguments[0]), *arguments[1:])
        if name in OTHERS:
            return OTHERS[name](context, *arguments)
    raise LoweringError("this operation is not known")

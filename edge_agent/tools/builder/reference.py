"""Runs a plan with numpy in double precision, as plainly as the definitions: engines are held against it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.model.plan import (
    DTYPES,
    Activation,
    Arithmetic,
    Bounds,
    Concat,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Operation,
    Plan,
    Pool2d,
    activations_read,
    weights_read,
)

Values = NDArray[np.float64]
_MOST_COPIED = 1 << 21
"""So many values of windows are copied for one product: 16 MB."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The output of a plan, flat, and the largest value on the way to it: rounding errors scale with that."""

    output: Values
    largest: float


def evaluate(plan: Plan, blob: bytes | memoryview, picture: NDArray[np.float32]) -> Expected:
    """Compute a plan from its weights as they are stored.

    `picture` has the plan's input shape. Takes memory for the activations that are still to be read, and for
    one layer's weights.
    """
    values = {plan.input: picture.astype(np.float64)}
    last_read = {
        source: place for place, made in enumerate(plan.operations) for source in activations_read(made)
    }
    largest = float(np.abs(values[plan.input]).max())
    for place, operation in enumerate(plan.operations):
        sources = (*activations_read(operation), *weights_read(operation))
        constants = [source for source in sources if plan.tensors[source].offset is not None]
        result = _result(operation, values | {source: _constant(plan, blob, source) for source in constants})
        values[operation.output] = result
        largest = max(largest, float(np.abs(result).max()))
        for source in [source for source in values if last_read.get(source) == place]:
            del values[source]
    return Expected(values[plan.output].reshape(-1), largest)


def _constant(plan: Plan, blob: bytes | memoryview, identifier: int) -> Values:
    tensor = plan.tensors[identifier]
    stored = np.frombuffer(blob, DTYPES[plan.precision], tensor.elements, tensor.offset or 0)
    return stored.reshape(tensor.shape).astype(np.float64)


def _result(operation: Operation, values: dict[int, Values]) -> Values:
    match operation:
        case Conv2d():
            return _conv2d(operation, values)
        case FullyConnected(input=source, filter=filter_, bias=bias, bounds=bounds):
            return _clamp((values[filter_] @ values[source].reshape(-1) + values[bias])[None], bounds)
        case Pool2d():
            return _pool2d(operation, values[operation.input])
        case GlobalAveragePool(input=source):
            mean: Values = values[source].mean(axis=(1, 2), keepdims=True)
            return mean
        case Arithmetic(kind=kind, left=left, right=right, bounds=bounds):
            result = values[left] + values[right] if kind == "add" else values[left] * values[right]
            return _clamp(result, bounds)
        case Activation(kind=kind, input=source, bounds=bounds):
            return _activation(kind, values[source], bounds)
        case Concat(inputs=inputs):
            return np.concatenate([values[source] for source in inputs], axis=-1)


def _conv2d(operation: Conv2d, values: dict[int, Values]) -> Values:
    filter_ = values[operation.filter]
    outputs, *kernel, group_inputs = filter_.shape
    source = values[operation.input]
    windows = _windows(source, kernel, operation.stride, operation.dilation, operation.padding, 0)
    group_outputs = outputs // operation.groups
    parts = [
        _products(
            windows[..., group * group_inputs : (group + 1) * group_inputs],
            filter_[group * group_outputs : (group + 1) * group_outputs],
        )
        for group in range(operation.groups)
    ]
    return _clamp((np.concatenate(parts, axis=-1) + values[operation.bias])[None], operation.bounds)


def _products(windows: Values, filter_: Values) -> Values:
    """Each window times each filter, summed: (rows, columns, filters), some rows at a time."""
    rows, *window = windows.shape
    step = max(1, _MOST_COPIED // math.prod(window))
    parts = [
        np.tensordot(windows[first : first + step], filter_, ((2, 3, 4), (1, 2, 3)))
        for first in range(0, rows, step)
    ]
    return np.concatenate(parts)


def _pool2d(operation: Pool2d, picture: Values) -> Values:
    windows = _windows(picture, operation.kernel, operation.stride, (1, 1), operation.padding, np.nan)
    pool: Any = np.nanmax if operation.kind == "max" else np.nanmean
    return np.asarray(pool(windows, axis=(2, 3)))[None]


def _windows(picture: Values, kernel: Any, stride: Any, dilation: Any, padding: Any, fill: float) -> Values:
    """Every window: (rows, columns, kernel height, kernel width, channels)."""
    top, right, bottom, left = padding
    padded = np.pad(picture[0], ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    extent = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    dense = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(0, 1))
    chosen = dense[:: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return np.moveaxis(chosen, 2, 4)


def _activation(kind: str, values: Values, bounds: Bounds) -> Values:
    if kind == "clamp":
        return _clamp(values, bounds)
    if kind == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-values)))
    return np.asarray(values * np.clip(values + 3, 0, 6) / 6)


def _clamp(values: Values, bounds: Bounds) -> Values:
    return np.clip(values, *bounds)

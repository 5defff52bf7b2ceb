"""Tensors of PyTorch's files as arrays: views of the file's own bytes, checked against their storage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_DIMENSIONS = 32  # of an array of numpy
_EXPANDED = 1 << 16
"""So many elements a tensor may have though its storage has fewer."""

DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
    "UntypedStorage": "u1",
}
"""By the names of torch's storages: numpy's types, but for `bf16`, which numpy lacks."""
_QUANTISED = {"QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage"}
DTYPES |= dict.fromkeys(_QUANTISED, "u1")
DTYPE_NAMES = (
    *("float64", "double", "float32", "float", "float16", "half", "bfloat16"),
    *("int64", "long", "int32", "int", "int16", "short", "int8", "uint8", "bool"),
    *("complex64", "complex128"),
)
"""What torch calls its types of numbers."""


class TensorError(Exception):
    """A tensor that its storage cannot hold; the text says why."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """Stands for a quantised tensor, whose digits are gone."""


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Numbers in a row, in a file: mapped, and read-only."""

    values: NDArray[Any]
    is_bf16: bool = False


def item_bytes(dtype: str) -> int:
    """The size of one number of a type of `DTYPES`."""
    return 2 if dtype == "bf16" else np.dtype(dtype).itemsize


def storage_of(data: memoryview, dtype: str) -> Storage:
    """See bytes as numbers of a type of `DTYPES`. Raises TensorError where they do not come out even."""
    if len(data) % item_bytes(dtype):
        raise TensorError(f"a storage of {len(data)} bytes is no row of numbers")
    return Storage(np.frombuffer(data, "<u2" if dtype == "bf16" else dtype), dtype == "bf16")


def tensor_of(storage: object, offset: object, size: object, strides: object) -> NDArray[Any]:
    """Return a part of a storage as a read-only array, all counted in elements.

    Raises TensorError where the storage does not hold all of it.
    """
    if not isinstance(storage, Storage):
        raise TensorError("a tensor has no storage")
    shape, steps = _counts(size), _counts(strides)
    if not isinstance(offset, int) or offset < 0 or len(shape) != len(steps):
        raise TensorError(f"a tensor of shape {size!r:.60} and strides {strides!r:.60} makes no sense")
    values, elements = storage.values, math.prod(shape)
    last = offset + sum((count - 1) * step for count, step in zip(shape, steps, strict=True))
    if elements and last >= len(values):
        raise TensorError(f"a tensor of shape {shape} reaches beyond its storage of {len(values)} numbers")
    if elements > max(len(values), _EXPANDED):
        raise TensorError(f"a tensor of shape {shape} has more numbers than its storage")
    if not elements:
        return np.zeros(shape, values.dtype)
    bytes_apart = [step * values.itemsize for step in steps]
    view: NDArray[Any] = np.lib.stride_tricks.as_strided(values[offset:], shape, bytes_apart, writeable=False)
    return _widened(view) if storage.is_bf16 else view


def _counts(numbers: object) -> tuple[int, ...]:
    counts = tuple(numbers) if isinstance(numbers, tuple | list) else ()
    if not isinstance(numbers, tuple | list) or len(counts) > _LARGEST_DIMENSIONS:
        raise TensorError("a tensor's shape is no list of numbers")
    if not all(isinstance(count, int) and 0 <= count < 1 << 48 for count in counts):
        raise TensorError(f"a tensor's shape or strides, {counts!r:.60}, are no sizes")
    return counts


def _widened(halves: NDArray[Any]) -> NDArray[np.float32]:
    """BF16 is the upper half of FP32."""
    values: NDArray[np.float32] = (halves.astype("<u4") << 16).view("<f4")
    values.flags.writeable = False
    return values

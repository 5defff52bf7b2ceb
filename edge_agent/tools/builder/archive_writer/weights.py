"""The tensors of a TorchScript archive: as torch sees them, and as bytes, a piece at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_PIECE_ELEMENTS = 1 << 18
_BEYOND_HALF = 65520.0
"""The smallest number that FP16 rounds to infinity."""
SMALLEST_ELEMENTS = 1024
"""Of a weight that is stored in FP16. Biases and the like: half of them would save nothing."""
# 1.2 MB of FP32. With ResNet-18, whole weights cost 8000 page faults a frame and twice the latency, slices of
# this size none; smaller ones save nothing more.
_SLICE_ELEMENTS = 300_000
# Slices are a multiple of this many output channels, so that vector kernels have no remainder to handle.
_CHANNEL_STEP = 16


@dataclass(frozen=True, eq=False, slots=True)
class StoredTensor:
    """A tensor of the archive."""

    values: Array
    """In the order in which they are written; not copied, and perhaps in another order in memory."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In elements."""
    half: bool = False
    """Whether it is stored as FP16."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def storage(self) -> str:
        """The class of torch that says its type."""
        return "HalfStorage" if self.half else "FloatStorage"

    def rows(self, first: int, last: int, *, half: bool = False) -> StoredTensor:
        """Return a part of it along its first dimension."""
        values = self.values[first:last]
        return StoredTensor(values, (len(values), *self.shape[1:]), self.strides, half)

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes, about a megabyte at a time."""
        dtype: np.dtype[Any] = np.dtype("<f2" if self.half else "<f4")
        rows = max(1, _PIECE_ELEMENTS // max(1, math.prod(self.values.shape[1:])))
        for first in range(0, len(self.values), rows):
            yield self.values[first : first + rows].astype(dtype).tobytes()


def plain(values: Array) -> StoredTensor:
    """Return a tensor that torch sees as numpy does."""
    strides = tuple(math.prod(values.shape[axis + 1 :]) for axis in range(values.ndim))
    return StoredTensor(values, values.shape, strides)


def channels_last(values: Array) -> StoredTensor:
    """Return an NHWC tensor as torch sees it: NCHW, with its channels last in memory."""
    count, height, width, channels = values.shape
    strides = (height * width * channels, 1, width * channels, channels)
    return StoredTensor(values, (count, channels, height, width), strides)


def fits_half(values: Array) -> bool:
    """Return whether no value becomes infinite in FP16, or is no number."""
    return bool(values.max() < _BEYOND_HALF and values.min() > -_BEYOND_HALF)


def rows_in_a_slice(elements: int, rows: int) -> int:
    """How many of its output channels, `rows`, a weight of FP16 is widened at a time."""
    return max(1, _SLICE_ELEMENTS // (elements // rows) // _CHANNEL_STEP) * _CHANNEL_STEP

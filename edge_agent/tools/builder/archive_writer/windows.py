"""Where the windows of a pooling lie in a plan, and whether torch would lay them there too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_agent.model.plan import Pool2d, Tensor
from edge_agent.tools.builder.archive_writer.weights import Array


class Axis(NamedTuple):
    """The height, or the width, that windows slide along."""

    size: int
    kernel: int
    stride: int
    before: int
    """The padding at the beginning; the one at the end follows from `positions`."""
    positions: int

    def fits(self, ceil_mode: bool) -> bool:
        """Return whether torch, which pads the end as the beginning, has the same positions."""
        if 2 * self.before > self.kernel:
            return False  # torch refuses it
        room = self.size + 2 * self.before - self.kernel
        positions = (-(-room // self.stride) if ceil_mode else room // self.stride) + 1
        if ceil_mode and (positions - 1) * self.stride >= self.size + self.before:
            positions -= 1  # a window has to begin before the padding at the end
        return positions == self.positions

    def elements(self) -> list[int]:
        """Return how many elements of the picture are in the window at each position."""
        begins = [position * self.stride - self.before for position in range(self.positions)]
        return [min(begin + self.kernel, self.size) - max(begin, 0) for begin in begins]


def axes_of(operation: Pool2d, tensors: Sequence[Tensor]) -> tuple[Axis, Axis]:
    """Return the height and the width."""
    _, height, width, _ = tensors[operation.input].shape
    _, rows, columns, _ = tensors[operation.output].shape
    top, _, _, left = operation.padding
    return (
        Axis(height, operation.kernel[0], operation.stride[0], top, rows),
        Axis(width, operation.kernel[1], operation.stride[1], left, columns),
    )


def torch_ceil_mode(axes: Sequence[Axis]) -> bool | None:
    """Return the `ceil_mode` with which torch has the same windows; None where it has them with neither."""
    return next((mode for mode in (False, True) if all(axis.fits(mode) for axis in axes)), None)


def shares(axes: tuple[Axis, Axis]) -> Array:
    """Return what one element counts in the average of each window, (rows, columns)."""
    rows, columns = (np.array(axis.elements(), np.float32) for axis in axes)
    return np.reciprocal(np.outer(rows, columns), dtype=np.float32)

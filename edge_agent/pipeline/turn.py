"""Turns the picture of a camera that is mounted sideways or upside down."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import SourceConfig
from edge_agent.frame import Box
from edge_agent.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """How a picture is turned: first clockwise, by 0, 90, 180 or 270 degrees, then mirrored."""

    degrees: int = 0
    hflip: bool = False
    """Left and right are exchanged."""
    vflip: bool = False
    """Top and bottom are exchanged."""

    @classmethod
    def from_config(cls, config: SourceConfig) -> Self:
        return cls(int(config.rotate), config.hflip, config.vflip)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the turned picture, in memory of its own; the same one where there is nothing to turn.

        `pixels` is RGB, shape (height, width, 3), uint8.
        """
        if self == UPRIGHT:
            return pixels
        turned = np.rot90(pixels, -self.degrees // 90)
        if self.hflip:
            turned = turned[:, ::-1]
        if self.vflip:
            turned = turned[::-1]
        return np.ascontiguousarray(turned)

    def box(self, box: Box) -> Box:
        """Where a part of the picture is in the turned one."""
        for _ in range(self.degrees // 90):
            box = _clockwise(box)
        return self._mirrored(box)

    def back(self, box: Box) -> Box:
        """Where a part of the turned picture comes from: the opposite of `box`."""
        box = self._mirrored(box)
        for _ in range(-self.degrees // 90 % 4):
            box = _clockwise(box)
        return box

    def _mirrored(self, box: Box) -> Box:
        left, top, width, height = box
        return (
            1 - left - width if self.hflip else left,
            1 - top - height if self.vflip else top,
            width,
            height,
        )


def _clockwise(box: Box) -> Box:
    left, top, width, height = box
    return 1 - top - height, left, height, width


UPRIGHT = Turn()

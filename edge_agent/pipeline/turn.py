"""Turns the picture of a camera that is mounted sideways or upside down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import SourceConfig


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


UPRIGHT = Turn()

"""Parts of a picture: where a region lies in a frame, and its pixels. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import RegionConfig
from edge_agent.frame import WHOLE, Box

_LEAST_SHARE = 0.9
"""A frame that shows less of a region is of another part of the picture: the camera is being told."""


def box_of(region: RegionConfig) -> Box:
    """The box of a region, which the rules of the configuration have checked."""
    left, top, width, height = region.box
    return left, top, width, height


def place_in(window: Box, box: Box) -> Box | None:
    """Where in a frame that shows `window` of the picture a box of the picture is, as shares of the frame.

    What lies beyond the frame, as rounding makes it, is left out. None where that is much of the box.
    """
    if window == WHOLE:
        return box
    left, wide = _along(window[0], window[2], box[0], box[2])
    top, high = _along(window[1], window[3], box[1], box[3])
    shown = wide * window[2] * high * window[3]
    return (left, top, wide, high) if shown >= _LEAST_SHARE * box[2] * box[3] else None


def cut(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The part of a picture, shape (height, width, 3), in a box of it; at least one pixel, not copied."""
    height, width = pixels.shape[:2]
    left, top, wide, high = box
    x, y = min(round(left * width), width - 1), min(round(top * height), height - 1)
    right = max(x + 1, round((left + wide) * width))
    bottom = max(y + 1, round((top + high) * height))
    return pixels[y:bottom, x:right]


def _along(window: float, window_length: float, start: float, length: float) -> tuple[float, float]:
    """Start and length of a side in the window, as shares of it; the length is 0 where it is outside."""
    begin = min(1.0, max(0.0, (start - window) / window_length))
    end = min(1.0, max(0.0, (start + length - window) / window_length))
    return begin, end - begin

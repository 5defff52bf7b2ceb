"""Parts of a picture: where a region lies in a frame, and its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import RegionConfig
from edge_agent.frame import WHOLE, Box, Frame

GREY = 128
"""What hides pixels outside a polygon: networks see it as nothing in particular."""

_LEAST_SHARE = 0.9
"""A frame that shows less of a region is of another part of the picture: the camera is being told."""

Pixels = NDArray[np.uint8]


class Part:
    """What of a picture is watched: all of it, a box or a polygon. Used by one thread."""

    def __init__(self, region: RegionConfig | None) -> None:
        """None is the whole picture."""
        self.box = box_of(region) if region else WHOLE
        self._corners = _corners(region.polygon if region else (), self.box)
        self._inside = np.empty((0, 0, 3), np.uint8)

    def of(self, frame: Frame) -> Frame | None:
        """The part of a frame; the pixels of a box are those of the frame, not copied.

        None where the frame does not show it: a camera that shows another part of its picture takes some
        frames to follow.
        """
        place = place_in(frame.window, self.box)
        if place is None:
            return None
        if place == WHOLE and not self._corners:
            return frame
        return replace(frame, pixels=self._masked(cut(frame.pixels, place)), window=self.box)

    def cut_out(self, pixels: Pixels) -> Pixels:
        """The part of a whole picture, RGB, shape (height, width, 3), uint8."""
        return self._masked(cut(pixels, self.box))

    def _masked(self, pixels: Pixels) -> Pixels:
        """Those of the box, with grey for what lies outside the polygon."""
        if not self._corners:
            return pixels
        if self._inside.shape != pixels.shape:
            self._inside = _filled(self._corners, pixels.shape)
        masked = np.bitwise_xor(pixels, np.uint8(GREY))
        masked &= self._inside
        masked ^= np.uint8(GREY)
        return masked


def box_of(region: RegionConfig) -> Box:
    """The box of a region, which the rules of the configuration have checked; a polygon's is around it."""
    if region.polygon:
        across, down = region.polygon[::2], region.polygon[1::2]
        return min(across), min(down), max(across) - min(across), max(down) - min(down)
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


def cut(pixels: Pixels, box: Box) -> Pixels:
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


def _corners(polygon: Sequence[float], box: Box) -> list[tuple[float, float]]:
    """Those of a polygon, as shares of its box."""
    points = zip(polygon[::2], polygon[1::2], strict=True)
    return [((x - box[0]) / box[2], (y - box[1]) / box[3]) for x, y in points]


def _filled(corners: Sequence[tuple[float, float]], shape: tuple[int, ...]) -> Pixels:
    """A picture of that shape, (height, width, 3): 255 inside the polygon, 0 outside.

    A pixel is inside where a ray to the right of its middle crosses the outline an odd number of times.
    Pillow's ImageDraw could do it, but takes 3 MB to import.
    """
    height, width = shape[:2]
    down, across = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    inside = np.zeros((height, width), np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if y1 != y2:
            crosses = (y1 > down) != (y2 > down)
            where = x1 + (down - y1) * (x2 - x1) / (y2 - y1)
            inside ^= crosses[:, None] & (across < where[:, None])
    return np.repeat(inside[:, :, None].astype(np.uint8) * np.uint8(255), 3, axis=2)

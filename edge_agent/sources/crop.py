"""Which rectangle of a sensor shows a part of its picture, and which part a rectangle shows. Pure."""

from __future__ import annotations

import math

from edge_agent.frame import WHOLE, Box

Rectangle = tuple[int, int, int, int]
"""Left, top, width and height, in pixels of the sensor."""

_ROUNDING = 1e-6


def crop_for(box: Box, whole: Rectangle, aspect: float) -> Rectangle:
    """The smallest rectangle that holds a part of the picture and whose width is `aspect` times its height.

    `whole` is what the picture shows; the rectangle never reaches beyond it, and has its whole width or
    height where the right shape would be larger.
    """
    wanted_width, wanted_height = box[2] * whole[2], box[3] * whole[3]
    left, width = _side(box[0], box[2], max(wanted_width, wanted_height * aspect), whole[0], whole[2])
    top, height = _side(box[1], box[3], max(wanted_height, wanted_width / aspect), whole[1], whole[3])
    return left, top, width, height


def window_of(crop: Rectangle, whole: Rectangle) -> Box:
    """The part of the picture that a rectangle shows."""
    if crop == whole:
        return WHOLE
    return (
        (crop[0] - whole[0]) / whole[2],
        (crop[1] - whole[1]) / whole[3],
        crop[2] / whole[2],
        crop[3] / whole[3],
    )


def _side(start: float, share: float, length: float, whole_start: int, whole_length: int) -> tuple[int, int]:
    """Start and length of one side: about the middle of the part, moved where it would reach out."""
    length = min(length, whole_length)
    begin = (start + share / 2) * whole_length - length / 2
    begin = min(max(0.0, begin), whole_length - length)
    first = max(0, math.floor(begin + _ROUNDING))
    last = min(whole_length, max(first + 1, math.ceil(begin + length - _ROUNDING)))
    return whole_start + first, last - first

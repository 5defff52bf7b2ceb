"""Notices a region that has too few pixels for a network to see much in it."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from edge_agent.system.log import say

_LOG = logging.getLogger(__name__)

LEAST_PX = 80
"""Of each side."""

_FRAMES = 10
"""So many in a row must be too small: a camera that crops shows a new region in a few frames only."""

_LARGER_PICTURE = {
    "picamera2": "source.picamera2.lores_width and lores_height; a region that is the only one is cropped by"
    " the camera itself, out of all its pixels",
    "v4l2": "source.v4l2.width and height",
    "rtsp": "the camera's larger stream, in source.rtsp.url",
    "http": "the camera's larger stream or picture, in source.http.url",
    "file": "a video with more pixels, in source.file.path",
    "folder": "pictures with more pixels, in source.folder.path",
}


def has_few(pixels: NDArray[np.uint8]) -> bool:
    """Whether a region's part of a frame, shape (height, width, 3), is too small."""
    return bool(min(pixels.shape[:2]) < LEAST_PX)


def size_of(pixels: NDArray[np.uint8]) -> str:
    """For people: `64 x 48 pixels`."""
    height, width = pixels.shape[:2]
    return f"{width} x {height} pixels"


def remedy(name: str, source_type: str) -> str:
    """What to do about it, for a region of that name and a kind of source."""
    larger = _LARGER_PICTURE.get(source_type, "a camera with more pixels")
    return f"a network sees little in less than {LEAST_PX}: make regions.{name} larger, or take {larger}"


class FewPixels:
    """Logs once that a region is too small, and again when it has become so in another size."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._size = ""
        self._frames = 0

    def look(self, pixels: NDArray[np.uint8], source_type: str) -> None:
        """Look at the region's part of a frame, shape (height, width, 3)."""
        size = size_of(pixels) if has_few(pixels) else ""
        self._frames = self._frames + 1 if size == self._size else 1
        self._size = size
        if size and self._frames == _FRAMES:
            say(_LOG, logging.WARNING, f"region {self._name} has {size}: {remedy(self._name, source_type)}")

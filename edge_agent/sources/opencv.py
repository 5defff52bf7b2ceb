"""Shared by the sources that read through OpenCV, which is imported when one of them is opened."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.memory.room import MARGIN_MB, Room
from edge_agent.sources import LastingError
from edge_agent.sources.decode_cost import SHORTER_SIDE_PX

_MB = 1 << 20

# Measured at the peak, with MPEG-4, VP9 and Motion JPEG from 640 x 480 to 3840 x 2160 pixels.
_PIXEL_BYTES = 15
_FIXED_BYTES = 6 * _MB


class StreamTooLargeError(LastingError):
    """Decoding the stream would take more memory than the budget leaves, which no restart cures."""


class LiveCapture:
    """A camera or stream behind cv2.VideoCapture. Its frames pile up unless they are read or skipped."""

    def __init__(
        self,
        description: str,
        connect: Callable[[], Any],
        hint: str,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect` returns an opened VideoCapture or raises SourceError; `hint` says what to check."""
        self._description = description
        self._connect = connect
        self._hint = hint
        self._timeout_s = timeout_s
        self._clock = clock
        self._capture: Any = None
        self._image: NDArray[np.uint8] | None = None
        self._frames = 0

    @property
    def live(self) -> bool:
        return True

    @property
    def description(self) -> str:
        return self._description

    def open(self) -> None:
        """Connect. Raises SourceError."""
        self._capture = self._connect()

    def read(self) -> Frame:
        """Return the next frame. Raises SourceError when none came in time."""
        started_s = self._clock()
        delivered, self._image = self._capture.read(self._image)
        if not delivered or self._image is None:
            raise self._silence()
        pixels = to_rgb(self._image)
        ended_s = self._clock()
        self._frames += 1
        return Frame(self._frames, ended_s, (ended_s - started_s) * 1000, pixels)

    def skip(self) -> bool:
        """Let the next frame pass. Raises SourceError when none came in time."""
        if not self._capture.grab():
            raise self._silence()
        return True

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
            self._image = None

    def _silence(self) -> SourceError:
        return SourceError(
            f"{self._description} gave no picture within {self._timeout_s:g} s, or ended; {self._hint}"
        )


def import_cv2(timeout_s: float = 10.0) -> Any:
    """Return the module cv2; a V4L2 camera that sends nothing is given up after about `timeout_s`.

    Raises SourceError where OpenCV is not installed.
    """
    # OpenCV reads these when it is loaded. Keep it silent unless the owner set otherwise: the capture
    # loop reports each failure, and once.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(math.ceil(timeout_s)))
    try:
        import cv2
    except ImportError as error:
        raise SourceError(
            f"this source needs OpenCV, which cannot be imported ({error}); run install.sh"
            " again, which brings it, or without a service `pip install 'edge-agent[opencv]'`"
        ) from error
    cv2.setNumThreads(1)  # the cores are for inference
    return cv2


def require_room(capture: Any, room_bytes: int, description: str, advice: str) -> None:
    """Refuse an opened VideoCapture whose pictures are too large, before they are decoded.

    `room_bytes` is how much there was before it was opened. Raises StreamTooLargeError, and releases it.
    """
    import cv2

    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    cost_bytes = width * height * _PIXEL_BYTES + _FIXED_BYTES
    if cost_bytes > room_bytes:
        capture.release()
        raise StreamTooLargeError(
            f"{description}: decoding {width} x {height} pixels takes about {cost_bytes / _MB:.0f} MB, and"
            f" the memory budget leaves {room_bytes / _MB:.0f}; {advice}, or raise memory.budget_mb"
        )


def stream_room_bytes(room: Room) -> int:
    """Return what a stream may take in all. OpenCV must be imported before, so that it is counted already."""
    return room() + int(MARGIN_MB * _MB)


def to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a VideoCapture's image as RGB, shape (height, width, 3), uint8, 0 to 255, in memory of its own.

    `image` is grey, BGR or BGRA: shape (height, width) or (height, width, 1, 3 or 4), uint8. A big
    picture comes back smaller by a whole factor, as picture files do: see SHORTER_SIDE_PX.
    """
    import cv2

    height, width = image.shape[:2]
    if (factor := min(height, width) // SHORTER_SIDE_PX) > 1:
        size = (width // factor, height // factor)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    channels = 1 if image.ndim == 2 else image.shape[2]
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    return np.asarray(cv2.cvtColor(image, codes[channels]), np.uint8)

"""Shared by the sources that read through OpenCV, which is imported when one of them is opened."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.room import MARGIN_MB, Room
from edge_agent.sources import LastingError
from edge_agent.sources.decode_cost import SHORTER_SIDE_PX

_MB = 1 << 20

# Measured at the peak, with MPEG-4, VP9 and Motion JPEG from 640 x 480 to 3840 x 2160 pixels.
_PIXEL_BYTES = 15
_FIXED_BYTES = 6 * _MB


class StreamTooLargeError(LastingError):
    """Decoding the stream would take more memory than the budget leaves, which no restart cures."""


@dataclass(frozen=True, slots=True)
class StreamRoom:
    """How much memory a stream may take, and what to say of one that would take more."""

    room_bytes: int
    subject: str
    """What is decoded: `the stream of camera:554`."""
    advice: str

    @classmethod
    def measured(cls, room: Room, subject: str, advice: str) -> Self:
        """The room there is now. OpenCV must be imported before, so that it is counted already."""
        return cls(room() + int(MARGIN_MB * _MB), subject, advice)

    def require(self, width: int, height: int) -> None:
        """Raise StreamTooLargeError where pictures of that size do not fit."""
        cost_bytes = width * height * _PIXEL_BYTES + _FIXED_BYTES
        if cost_bytes > self.room_bytes:
            raise StreamTooLargeError(
                f"{self.subject}: decoding {width} x {height} pixels takes about {cost_bytes / _MB:.0f} MB,"
                f" and the memory budget leaves {self.room_bytes / _MB:.0f}; {self.advice}, or raise"
                " memory.budget_mb"
            )


class Decoder:
    """An opened cv2.VideoCapture that gives no picture for which there is no room.

    A stream may change its size at any time; which one it has then shows in the first picture of that size.
    """

    def __init__(self, capture: Any, room: StreamRoom) -> None:
        """Raises StreamTooLargeError, and releases `capture`, where its pictures are too large."""
        import cv2

        self._capture = capture
        self._room = room
        self._size = (0, 0)
        self._image: NDArray[np.uint8] | None = None
        try:
            self._require(int(self.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        except StreamTooLargeError:
            capture.release()
            raise

    def get(self, property_id: int) -> float:
        return float(self._capture.get(property_id))

    def grab(self) -> bool:
        """Decode the next picture; False where none came."""
        return bool(self._capture.grab())

    def retrieve(self) -> NDArray[np.uint8] | None:
        """Return the picture that was grabbed, in memory that the next one will take; None where it is none.

        Raises StreamTooLargeError.
        """
        delivered, self._image = self._capture.retrieve(self._image)
        if not delivered or self._image is None:
            return None
        height, width = self._image.shape[:2]
        self._require(width, height)
        return self._image

    def release(self) -> None:
        self._capture.release()

    def _require(self, width: int, height: int) -> None:
        if (width, height) != self._size:
            self._room.require(width, height)
            self._size = width, height


class LiveCapture:
    """A camera or stream behind cv2.VideoCapture. Its frames pile up unless they are read or skipped."""

    def __init__(
        self,
        description: str,
        connect: Callable[[], Decoder],
        hint: str,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect` raises SourceError; `hint` says what to check."""
        self._description = description
        self._connect = connect
        self._hint = hint
        self._timeout_s = timeout_s
        self._clock = clock
        self._decoder: Decoder | None = None
        self._frames = 0

    @property
    def live(self) -> bool:
        return True

    @property
    def description(self) -> str:
        return self._description

    def open(self) -> None:
        """Connect. Raises SourceError."""
        self._decoder = self._connect()

    def read(self) -> Frame:
        """Return the next frame. Raises SourceError when none came in time."""
        started_s = self._clock()
        image = self._decoder.retrieve() if self._decoder is not None and self._decoder.grab() else None
        if image is None:
            raise self._silence()
        pixels = to_rgb(image)
        ended_s = self._clock()
        self._frames += 1
        return Frame(self._frames, ended_s, (ended_s - started_s) * 1000, pixels)

    def skip(self) -> bool:
        """Let the next frame pass. Raises SourceError when none came in time."""
        if self._decoder is None or not self._decoder.grab():
            raise self._silence()
        return True

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.release()
            self._decoder = None

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

"""A video file as a source, through OpenCV: every frame of it, or played at its own speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.sources.opencv import import_cv2, to_rgb


class VideoFileSource:
    """A video file, played once or in a loop: all of its frames, or `fps` for each of its seconds."""

    def __init__(
        self, path: Path, *, loop: bool, fps: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`fps`: frames to take of each second of the video; 0 for all of them."""
        self._path = path
        self._loop = loop
        self._fps = fps
        self._clock = clock
        self._capture: Any = None
        self._image: NDArray[np.uint8] | None = None
        self._passed_over = 0
        self._read_in_round = 0
        self._frames = 0

    @property
    def live(self) -> bool:
        """True where the file is played at its own speed, as if it were a camera."""
        return self._fps > 0

    @property
    def description(self) -> str:
        return f"file {self._path}"

    def open(self) -> None:
        """Begin with the first frame. Raises SourceError where the file is missing or no video."""
        self._require_readable()
        cv2 = import_cv2()
        self._capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{self._path} is no video that OpenCV can decode; check source.file.path")
        self._passed_over = _frames_between(self._capture.get(cv2.CAP_PROP_FPS), self._fps)
        self._read_in_round = 0

    def read(self) -> Frame | None:
        """Return the next frame; None at the end of a file played once.

        Raises SourceError for a file without a single frame.
        """
        started_s = self._clock()
        image = self._decode()
        if image is None and self._read_in_round and self._loop:
            self.close()
            self.open()
            image = self._decode()
        if image is None and not self._read_in_round:
            raise SourceError(f"{self._path} has no frame that OpenCV can decode; check source.file.path")
        if image is None:
            return None
        pixels = to_rgb(image)
        ended_s = self._clock()
        self._frames += 1
        self._read_in_round += 1
        return Frame(self._frames, ended_s, (ended_s - started_s) * 1000, pixels, self._path.name)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
            self._image = None

    def _decode(self) -> NDArray[np.uint8] | None:
        if self._read_in_round:
            for _ in range(self._passed_over):
                self._capture.grab()
        delivered, self._image = self._capture.read(self._image)
        return self._image if delivered else None

    def _require_readable(self) -> None:
        try:
            with self._path.open("rb"):
                pass
        except OSError as error:
            raise SourceError(
                f"cannot read the video {self._path}: {error.strerror}; check source.file.path"
            ) from error


def _frames_between(file_fps: float, wanted_fps: float) -> int:
    """How many frames to pass over after each one taken, so that the file plays at its own speed."""
    if wanted_fps <= 0 or not math.isfinite(file_fps):
        return 0
    return max(0, round(file_fps / wanted_fps) - 1)

"""A video file as a source, through OpenCV: every frame of it, or played at its own speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.memory.room import Room, command_room
from edge_agent.sources.opencv import Decoder, StreamRoom, import_cv2, to_rgb

_USUAL_FRAME_S = 1 / 25
_MOST_FPS = 480
_ROUNDING_S = 0.001


class VideoFileSource:
    """A video file, played once or in a loop: all of its frames, or `fps` for each of its seconds."""

    def __init__(
        self,
        path: Path,
        *,
        loop: bool,
        fps: float,
        room: Room = command_room,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fps`: frames to take of each second of the video; 0 for all of them.

        `room` returns how many bytes may be taken now.
        """
        self._path = path
        self._loop = loop
        self._fps = fps
        self._room = room
        self._clock = clock
        self._decoder: Decoder | None = None
        self._position_property: int = 0
        self._frame_s = _USUAL_FRAME_S
        self._position_s = -math.inf
        self._due_s = -math.inf
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
        room = StreamRoom.measured(self._room, f"the video {self._path}", "convert it to a smaller size")
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise SourceError(f"{self._path} is no video that OpenCV can decode; check source.file.path")
        self._decoder = Decoder(capture, room)
        self._position_property = cv2.CAP_PROP_POS_MSEC
        self._frame_s = _frame_s(self._decoder.get(cv2.CAP_PROP_FPS))
        self._position_s = self._due_s = -math.inf
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
        if self._decoder is not None:
            self._decoder.release()
            self._decoder = None

    def _decode(self) -> NDArray[np.uint8] | None:
        """Decode the next frame that is due by its own time; None at the end."""
        while (decoder := self._decoder) is not None and decoder.grab():
            self._position_s = self._next_position_s(decoder)
            if self._fps > 0 and self._position_s < self._due_s - _ROUNDING_S:
                continue
            image = decoder.retrieve()
            if image is not None and self._fps > 0:
                period_s = 1 / self._fps
                # A frame that came a little late does not delay the next one, so that the rate holds.
                in_step = self._position_s - self._due_s < period_s
                self._due_s = (self._due_s if in_step else self._position_s) + period_s
            return image
        return None

    def _next_position_s(self, decoder: Decoder) -> float:
        """When the frame just grabbed is shown: by its own time, which many files do not space evenly.

        Where that does not grow, the file gives none, and its frames are taken to be evenly spaced.
        """
        position_s = decoder.get(self._position_property) / 1000
        if math.isfinite(position_s) and position_s > self._position_s:
            return position_s
        return max(0.0, self._position_s + self._frame_s)

    def _require_readable(self) -> None:
        try:
            with self._path.open("rb"):
                pass
        except OSError as error:
            raise SourceError(
                f"cannot read the video {self._path}: {error.strerror}; check source.file.path"
            ) from error


def _frame_s(file_fps: float) -> float:
    """How long a frame lasts, by what the file says; no shorter than is plausible."""
    if not math.isfinite(file_fps) or not 0 < file_fps <= _MOST_FPS:
        return _USUAL_FRAME_S
    return 1 / file_fps

"""Notices a camera that stands still: frames that are the same to the last byte, which no sensor gives."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import SourceError

BLANK_LIMIT_S = 10.0
"""How long a picture of a single colour may last: it shows nothing."""

_LEAST_REPEATS = 2


class Standstill:
    """Looks at each frame of a camera; one thread's.

    A frame that is once found to stand still is an error whenever it comes again, also after a reopening,
    until another one comes. So a camera that is broken stays in trouble, with pauses that grow.
    """

    def __init__(self) -> None:
        self._checksum: int | None = None
        self._since_s = 0.0
        self._repeats = 0
        self._is_blank = False
        self._is_stuck = False
        self._is_first = True
        self._has_changed = False

    def opened(self) -> None:
        """The camera was opened: whether its pictures change has to be seen anew."""
        self._is_first = True
        self._has_changed = False

    def reset(self) -> None:
        """Forget the last frame: the camera was off, or is another one."""
        self._checksum = None
        self._is_stuck = False

    def shows_nothing(
        self, pixels: NDArray[np.uint8], now_s: float, limit_s: float, *, must_change: bool = False
    ) -> bool:
        """Whether a frame, RGB of shape (height, width, 3), is of a single colour.

        With `must_change` also whether it is what each frame was since the camera was opened: a decoder that
        fails without a word gives the same memory again and again, whatever it holds.
        Raises SourceError where it has been the same for `limit_s`, or for BLANK_LIMIT_S where it is blank.
        """
        checksum = zlib.crc32(np.ascontiguousarray(pixels).data)
        is_first, self._is_first = self._is_first, False
        if checksum != self._checksum:
            self._checksum, self._since_s, self._repeats = checksum, now_s, 0
            self._is_blank, self._is_stuck = _is_of_one_colour(pixels), False
            self._has_changed = self._has_changed or not is_first
        else:
            self._repeats += 1
            self._require_another(now_s, limit_s)
        return self._is_blank or (must_change and not self._has_changed)

    def _require_another(self, now_s: float, limit_s: float) -> None:
        """Raise SourceError where the frame, which came again, has been there for too long."""
        longest_s = min(limit_s, BLANK_LIMIT_S) if self._is_blank else limit_s
        lasted_s = now_s - self._since_s
        if self._is_stuck or (lasted_s >= longest_s and self._repeats >= _LEAST_REPEATS):
            self._is_stuck = True
            raise SourceError(self._description())

    def _description(self) -> str:
        if self._is_blank:
            return (
                "the camera gives a picture of a single colour; check the lens, the light and the cable, and"
                " whether its stream is interlaced, which some OpenCV decodes to nothing (if that is what it"
                " sees, set source.frozen_after_s to 0)"
            )
        return (
            "the camera stands still: each picture is the same to the last byte; restart it, or check whether"
            " its stream is interlaced, which some OpenCV cannot decode (for a test picture that never"
            " changes, set source.frozen_after_s to 0)"
        )


def _is_of_one_colour(pixels: NDArray[np.uint8]) -> bool:
    # Nearly every picture is found to have two colours at the first few pixels.
    few = pixels[:: max(1, pixels.shape[0] // 8), :: max(1, pixels.shape[1] // 8)]
    return all(bool((part == part[0, 0]).all()) for part in (few, pixels))

"""The newest frame as JPEG for the page: made once for all who look, and in a small share of the time."""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.frame import Frame
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.system.clock import Clock
from edge_agent.web.agent_view import Picture

_QUALITY = 75
_LEAST_S, _MOST_S = 0.2, 1.0
"""A picture is made at most, and at least, this often, where somebody asks for it."""
_SHARE = 0.02
"""Of the time, that making them takes: they come more rarely where the board is slow, or busy with frames."""


class NewestPicture:
    """Keeps the latest picture of two widths. Any thread may ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made: dict[int, Picture] = {}
        self._next_s = -math.inf
        self._lock = threading.Lock()

    def picture(self, frame: Frame, width: int) -> Picture:
        """The frame at most so many pixels wide; while another was just made, that one."""
        with self._lock:
            now_s, made = self._clock.monotonic_s(), self._made.get(width)
            if made is not None and (made.frame_id == frame.id or now_s < self._next_s):
                return made
            made = Picture(frame.id, encode_jpeg(shrunk(frame.pixels, width), _QUALITY))
            cost_s = self._clock.monotonic_s() - now_s
            self._next_s = now_s + min(max(_LEAST_S, cost_s / _SHARE), _MOST_S)
            self._made = {width: made} if len(self._made) > 1 else {**self._made, width: made}
            return made


def shrunk(pixels: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """A picture of shape (height, width, 3) in at most so many pixels across, without a large copy of it."""
    whole = max(1, pixels.shape[1] // (2 * width))
    coarse = pixels[::whole, ::whole]
    if coarse.shape[1] <= width:
        return np.ascontiguousarray(coarse)
    height = max(1, round(coarse.shape[0] * width / coarse.shape[1]))
    picture = Image.fromarray(np.ascontiguousarray(coarse))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))

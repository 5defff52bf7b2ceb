"""The motion gate: finds out by a few brightnesses that a scene is still and needs no inference. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.schema import MotionConfig

COLUMNS, ROWS = 32, 24
"""The grid of cells that a picture is reduced to, whatever its size and shape."""

FOLLOW_S = 5.0
"""The time constant with which the background follows the picture."""

_SAMPLES = 4  # each way in a cell: 16 in all, which reduces a sensor's noise to a quarter
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601


class LumaGrid:
    """Reduces a picture to the mean brightness of each cell, from 16 evenly spaced pixels in it.

    The buffers are kept: pictures of one size cost no allocation but a few hundred bytes of views.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._rows = self._columns = np.empty(0, np.intp)
        self._lines = np.empty(0, np.uint8)
        self._picked = np.empty((ROWS * _SAMPLES, COLUMNS * _SAMPLES, 3), np.uint8)
        self._values = np.empty((ROWS * _SAMPLES * COLUMNS, _SAMPLES * 3), np.float32)
        self._weights = np.tile(_LUMA, _SAMPLES) / np.float32(_SAMPLES * _SAMPLES)
        self._sums = np.empty(ROWS * _SAMPLES * COLUMNS, np.float32)

    def reduce(self, pixels: NDArray[np.uint8], cells: NDArray[np.float32]) -> None:
        """Write the brightnesses, 0 to 255, into `cells`, float32 of shape (ROWS, COLUMNS).

        `pixels` is RGB of shape (height, width, 3), each side at least 1.
        """
        if pixels.shape != self._shape:
            self._fit(pixels.shape)
        np.take(pixels, self._rows, axis=0, out=self._lines, mode="clip")
        np.take(self._lines, self._columns, axis=1, out=self._picked, mode="clip")
        np.copyto(self._values, self._picked.reshape(self._values.shape))
        np.matmul(self._values, self._weights, out=self._sums)
        np.sum(self._sums.reshape(ROWS, _SAMPLES, COLUMNS), axis=1, out=cells)

    def _fit(self, shape: tuple[int, ...]) -> None:
        height, width, channels = shape
        self._rows = _evenly(ROWS * _SAMPLES, height)
        self._columns = _evenly(COLUMNS * _SAMPLES, width)
        self._lines = np.empty((ROWS * _SAMPLES, width, channels), np.uint8)
        self._shape = shape


class MotionGate:
    """Decides for each frame whether it may be skipped. Used by one thread; reads no clock.

    With Y the brightness of a cell (ITU-R BT.601) and B its background, an exponential moving average,

        a cell has changed where  |Y - B| > threshold
        it is motion when         changed cells / all cells > area_percent / 100
        and then                  B := B + (1 - exp(-dt / FOLLOW_S)) * (Y - B)

    with dt the seconds since the last frame. So a light that changes by less than about threshold / FOLLOW_S
    a second is no motion, and an object that has come to rest becomes background. Noise of up to
    threshold / 2 in a cell's mean is never motion.

    The first frame is classified in any case, and so is one frame in each `max_skip_s`.
    """

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self._grid = LumaGrid()
        self._cells = np.empty((ROWS, COLUMNS), np.float32)
        self._background = np.empty((ROWS, COLUMNS), np.float32)
        self._changed = np.empty((ROWS, COLUMNS), np.bool_)
        self._seen_s: float | None = None
        self._classified_s = -math.inf

    def adopt(self, config: MotionConfig) -> None:
        """Follow other settings from the next frame on, which counts as the first."""
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Let the next frame be classified: its answer may differ although the scene does not."""
        self._seen_s = None

    def is_still(self, pixels: NDArray[np.uint8], now_s: float) -> bool:
        """Whether the frame captured at the monotonic time `now_s` may be skipped.

        `pixels` is RGB of shape (height, width, 3), uint8. Call it for every frame, in order; a frame for
        which it returns False counts as classified.
        """
        if not self._config.enabled:
            return False
        if not self._has_moved(pixels, now_s) and now_s - self._classified_s < self._config.max_skip_s:
            return True
        self._classified_s = now_s
        return False

    def _has_moved(self, pixels: NDArray[np.uint8], now_s: float) -> bool:
        """Compare with the background, and let that follow."""
        self._grid.reduce(pixels, self._cells)
        if self._seen_s is None:
            self._background[:] = self._cells
            self._seen_s = now_s
            return True
        share = -math.expm1(-max(0.0, now_s - self._seen_s) / FOLLOW_S)
        self._seen_s = now_s
        difference = np.subtract(self._cells, self._background, out=self._cells)
        np.greater(np.abs(difference), self._config.threshold, out=self._changed)
        difference *= share
        self._background += difference
        changed_percent = 100 * int(np.count_nonzero(self._changed)) / self._changed.size
        return changed_percent > self._config.area_percent


def _evenly(count: int, size: int) -> NDArray[np.intp]:
    """`count` indices into `size` elements: the middles of as many equal parts."""
    return ((np.arange(count) + 0.5) * size / count).astype(np.intp)

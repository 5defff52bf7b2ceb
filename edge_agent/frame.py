"""A frame: what sources produce and classifiers consume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.lean_dataclass import dataclass

Box = tuple[float, float, float, float]
"""Left, top, width and height, as shares of a picture."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    `pixels` is an RGB array of shape (height, width, 3), dtype uint8, range 0 to 255. It belongs to the
    frame: a source must not write into it after handing it over.
    """

    id: int
    """Counts the frames captured since the source was first opened, from 1, dropped ones included."""
    captured_s: float
    """When the capture ended, in seconds of `time.monotonic()`."""
    capture_ms: float
    """How long the capture took, decoding included."""
    pixels: NDArray[np.uint8]
    name: str = ""
    """The file name of a picture; empty for a camera."""
    window: Box = WHOLE
    """What the pixels show of the source's picture, of which a camera may have been told to show a part."""

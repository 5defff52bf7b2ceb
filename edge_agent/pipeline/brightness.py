"""How bright a picture is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_SAMPLED = 128  # of each side: enough for a mean


def brightness_of(pixels: NDArray[np.uint8]) -> float:
    """The mean of a picture, shape (height, width, 3), 0 to 255, by pixels that are evenly spread."""
    height, width = (max(1, -(-side // _MOST_SAMPLED)) for side in pixels.shape[:2])
    return float(pixels[::height, ::width].mean())

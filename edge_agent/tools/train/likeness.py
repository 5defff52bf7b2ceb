"""Which pictures are nearly the same: by a small fingerprint, or by what a network makes of them."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
NEAR_BITS = 6
"""Of 256: up to so many differ between two pictures of a scene in which nothing has changed."""

Fingerprint = NDArray[np.uint8]
_BITS_OF_BYTE = np.array([bin(value).count("1") for value in range(256)], np.uint16)


def fingerprint(pixels: NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of an RGB picture, shape (height, width, 3): 32 bytes, whether each cell is brighter
    than the one to its left."""
    small = Image.fromarray(pixels).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    cells = np.asarray(small, np.int16)
    return np.packbits(cells[:, 1:] > cells[:, :-1] + 1)


def distances(one: Fingerprint, others: NDArray[np.uint8]) -> NDArray[np.intp]:
    """How many bits of each of `others`, shape (n, 32), differ from `one`."""
    return np.asarray(_BITS_OF_BYTE[np.bitwise_xor(others, one)].sum(axis=1), np.intp)


ALIKE = 0.98
"""The cosine of two features from which on a picture says nothing new, for `edge-agent collect`.

By EfficientNet-Lite0 a sensor's noise of 2 of 255 on a scene that stands still leaves 0.983 to 0.990. The
same state at another hour had 0.82 to 0.99, mostly below 0.98; on another day, or another state, never more
than 0.95 (scenes of `benchmarks/teaching`). So a still scene is left out; other light and days are kept.
"""
_MOST_COMPARED = 512


class Newness:
    """Says whether a picture brings anything new beside those that were taken, by the cosine of features."""

    def __init__(self, alike: float = ALIKE) -> None:
        """`alike`: the cosine, 0 to 1, from which on two pictures are the same; above 1, none are."""
        self._alike = alike
        self._taken: deque[NDArray[np.float32]] = deque(maxlen=_MOST_COMPARED)

    def take(self, feature: NDArray[np.floating]) -> bool:
        """Whether a picture with this feature, shape (features,), is new; then it is remembered."""
        length = float(np.linalg.norm(feature.astype(np.float32)))
        unit = feature.astype(np.float32) / np.float32(max(length, 1e-12))
        if self._taken and float((np.stack(self._taken) @ unit).max()) >= self._alike:
            return False
        self._taken.append(unit)
        return True


def signs(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The fingerprint as a feature, shape (256,), of 1 and -1, where there is no network to make one.

    Two that are NEAR_BITS apart have a cosine of NEAR_COSINE.
    """
    return np.unpackbits(fingerprint(pixels)).astype(np.float32) * 2 - 1


NEAR_COSINE = 1 - 2 * NEAR_BITS / (SIDE * SIDE)

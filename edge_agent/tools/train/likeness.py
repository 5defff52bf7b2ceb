"""A small fingerprint of a picture: nearly the same pictures have nearly the same one."""

from __future__ import annotations

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

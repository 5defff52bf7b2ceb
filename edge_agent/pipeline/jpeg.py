"""Encodes a frame as JPEG, for the `image` topic and for snapshots."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode_jpeg(pixels: NDArray[np.uint8], quality: int, comment: bytes = b"") -> bytes:
    """Return the JPEG file of an RGB picture, shape (height, width, 3), uint8; `quality` is 1 to 95.

    `comment`, shorter than 64 kB, becomes the file's own comment (COM).
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality, comment=comment)
    return buffer.getvalue()

"""Turns the camera formats that picamera2 delivers into RGB, with Pillow's own YCbCr conversion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.errors import SourceError
from edge_agent.lean_dataclass import dataclass

# The names are those of libcamera, which names a format from the highest byte of a little-endian word: in
# memory, BGR888 is red, green, blue.
_RGB_ORDERS = {"BGR888": (0, 1, 2), "XBGR8888": (0, 1, 2), "RGB888": (2, 1, 0), "XRGB8888": (2, 1, 0)}

# BT.601: luma has 219 steps from 16 up, chroma has 224 around 128.
_LUMA_TO_FULL_RANGE = [min(255, max(0, round((value - 16) * 255 / 219))) for value in range(256)]
_CHROMA_TO_FULL_RANGE = [min(255, max(0, round((value - 128) * 255 / 224) + 128)) for value in range(256)]


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """The format and size of a configured stream."""

    name: str
    """libcamera's name, for instance `YUV420`."""
    width: int
    height: int
    full_range: bool = True
    """Whether luma spans 0 to 255, as in JPEG, rather than 16 to 235, as in video."""


def to_rgb(array: NDArray[np.uint8], stream: StreamFormat) -> NDArray[np.uint8]:
    """Return the array of `picamera2.capture_array` as RGB, shape (height, width, 3), uint8, 0 to 255.

    YUV is taken as ITU-R BT.601. Raises SourceError for a format that the camera should not have chosen.
    """
    if stream.name in ("YUV420", "YVU420"):
        luma, first, second = _planar(array, stream)
        chroma = (first, second) if stream.name == "YUV420" else (second, first)
        return _from_ycbcr(luma, *chroma, stream)
    if stream.name in ("NV12", "NV21"):
        luma, first, second = _semi_planar(array, stream)
        chroma = (first, second) if stream.name == "NV12" else (second, first)
        return _from_ycbcr(luma, *chroma, stream)
    if (order := _RGB_ORDERS.get(stream.name)) is not None:
        return np.ascontiguousarray(array[:, :, order])
    if stream.name == "MJPEG":  # picamera2 has decoded it
        return np.ascontiguousarray(array)
    raise SourceError(
        f"the camera delivers {stream.name}, which cannot be converted here; use source.type v4l2 for it"
    )


def _planar(array: NDArray[np.uint8], stream: StreamFormat) -> tuple[NDArray[np.uint8], ...]:
    """The planes of an array of 3/2 the height, whose rows may be padded: chroma rows lie two in each."""
    width, height = stream.width, stream.height
    half_rows = array[height:].reshape(height, -1)
    first, second = half_rows[: height // 2], half_rows[height // 2 :]
    return array[:height, :width], first[:, : width // 2], second[:, : width // 2]


def _semi_planar(array: NDArray[np.uint8], stream: StreamFormat) -> tuple[NDArray[np.uint8], ...]:
    """The planes of an array of 3/2 the height, whose two chroma planes are interleaved."""
    width, height = stream.width, stream.height
    chroma = array[height:, :width]
    return array[:height, :width], chroma[:, 0::2], chroma[:, 1::2]


def _from_ycbcr(
    luma: NDArray[np.uint8], blue: NDArray[np.uint8], red: NDArray[np.uint8], stream: StreamFormat
) -> NDArray[np.uint8]:
    size = (stream.width, stream.height)
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in (luma, blue, red)]
    if not stream.full_range:
        tables = (_LUMA_TO_FULL_RANGE, _CHROMA_TO_FULL_RANGE, _CHROMA_TO_FULL_RANGE)
        planes = [plane.point(table) for plane, table in zip(planes, tables, strict=True)]
    smooth = Image.Resampling.BILINEAR
    full_size = [planes[0], planes[1].resize(size, smooth), planes[2].resize(size, smooth)]
    return np.asarray(Image.merge("YCbCr", full_size).convert("RGB"))

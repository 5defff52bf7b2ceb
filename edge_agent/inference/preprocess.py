"""Preprocessing: a picture of any size in, the network's normalised input out, in one resize."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.lean_dataclass import dataclass
from edge_agent.model.sidecar import Preprocessing

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocessor:
    """torchvision's evaluation transform without torchvision: Resize, CenterCrop, ToTensor, Normalize.

    With `squash` Resize is given both sides; with `grey` there is a Grayscale of three channels.

    The centre crop of a resized picture is the resized image of a box of the original, so one resize makes
    it: Pillow's antialiased one, which is also the one that torchvision applies to PIL pictures. Used by one
    thread at a time.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing
        self._filter = FILTERS[preprocessing.interpolation]
        mean = np.array(preprocessing.mean, np.float32)
        std = np.array(preprocessing.std, np.float32)
        # (value / 255 - mean) / std, as one multiplication and one addition
        self._scale = 1 / (255 * std)
        self._shift = -mean / std
        self._tensor = np.empty((1, preprocessing.crop, preprocessing.crop, 3), np.float32)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the input tensor of an RGB picture, shape (height, width, 3), uint8.

        The result is C-contiguous float32 of shape (1, crop, crop, 3): a buffer, which the next call
        overwrites.
        """
        height, width = pixels.shape[:2]
        wanted = self._preprocessing
        box = source_box(width, height, wanted.resize, wanted.crop, squash=wanted.squash)
        size = (wanted.crop, wanted.crop)
        cropped = Image.fromarray(pixels).resize(size, self._filter, box=box.as_tuple())
        seen = np.asarray(cropped.convert("L"))[:, :, np.newaxis] if wanted.grey else np.asarray(cropped)
        np.multiply(seen, self._scale, out=self._tensor[0])
        np.add(self._tensor, self._shift, out=self._tensor)
        return self._tensor


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a picture, in its pixels, edges not rounded."""

    left: float
    top: float
    right: float
    bottom: float

    def as_tuple(self) -> tuple[float, float, float, float]:
        return (self.left, self.top, self.right, self.bottom)


def source_box(width: int, height: int, resize: int, crop: int, *, squash: bool = False) -> Box:
    """Return the part of a `width` x `height` picture that is left after Resize(resize), CenterCrop(crop).

    With `squash` it is Resize((resize, resize)).

    Rounds as torchvision does: the longer side to int(resize * longer / shorter), the crop's corner to
    int(round((side - crop) / 2)). Needs crop <= resize.
    """
    shorter = min(width, height)
    resized_width = resize if squash else int(resize * width / shorter)
    resized_height = resize if squash else int(resize * height / shorter)
    left, right = _cropped_span(width, resized_width, crop)
    top, bottom = _cropped_span(height, resized_height, crop)
    return Box(left, top, right, bottom)


def _cropped_span(side: int, resized_side: int, crop: int) -> tuple[float, float]:
    first = round((resized_side - crop) / 2.0)
    scale = side / resized_side
    return first * scale, min((first + crop) * scale, float(side))

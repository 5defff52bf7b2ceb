"""Every picture of a set, decoded once and small, in one file; and what is made of one for the network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.inference.preprocess import FILTERS, source_box
from edge_agent.model.sidecar import Preprocessing
from edge_agent.sources.picture import read_picture
from edge_agent.tools.train.dataset import Item

Pixels = NDArray[np.uint8]

_LARGEST_SHIFT = 0.06


class Pictures:
    """The pictures of a set, each a square of `side` pixels as the network's transform resizes it."""

    def __init__(self, path: Path, side: int) -> None:
        self.side = side
        self._shape = (side, side, 3)
        self._bytes = side * side * 3
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, place: int) -> Pixels:
        """The picture, shape (side, side, 3); read from the file, so that none stays in memory."""
        data = os.pread(self._descriptor, self._bytes, place * self._bytes)
        return np.frombuffer(data, np.uint8).reshape(self._shape)

    def close(self) -> None:
        os.close(self._descriptor)


def store(items: Sequence[Item], taken: Preprocessing, path: Path) -> Pictures:
    """Decode every picture into a file; one that is there already and has the size is used.

    Raises SourceError for a picture that cannot be read.
    """
    side = taken.resize
    if not (path.is_file() and path.stat().st_size == len(items) * side * side * 3):
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")  # machines may share the folder
        with unfinished.open("wb") as file:
            for item in items:
                file.write(resized(read_picture(item.path), taken).tobytes())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    return Pictures(path, side)


def resized(pixels: Pixels, taken: Preprocessing) -> Pixels:
    """The middle of a picture, as large as the transform resizes it."""
    side = taken.resize
    box = source_box(pixels.shape[1], pixels.shape[0], side, side, squash=taken.squash)
    resampling = FILTERS[taken.interpolation]
    return np.asarray(Image.fromarray(pixels).resize((side, side), resampling, box=box.as_tuple()))


def middle(pixels: Pixels, crop: int) -> Pixels:
    """What the daemon looks at."""
    first = round((len(pixels) - crop) / 2.0)
    seen: Pixels = pixels[first : first + crop, first : first + crop]
    return seen


def varied(pixels: Pixels, crop: int, random: np.random.Generator) -> Pixels:
    """The same as on another day: a fixed camera moves by little, while light, colour and noise change.

    Never mirrored: left and right differ for a camera that stands still.
    """
    most = max(1, round(_LARGEST_SHIFT * crop))
    room = len(pixels) - crop
    start = round(room / 2.0)
    top, left = (int(np.clip(start + random.integers(-most, most + 1), 0, room)) for _ in range(2))
    seen = pixels[top : top + crop, left : left + crop].astype(np.float32)
    if random.random() < 0.1:  # infrared light at night has no colours
        seen = seen.mean(axis=2, keepdims=True).repeat(3, axis=2)
    contrast, cast = random.uniform(0.7, 1.3), random.uniform(0.9, 1.1, 3)
    seen = (seen - seen.mean()) * contrast + seen.mean() * random.uniform(0.7, 1.3)
    noisy = seen * cast + random.normal(0, random.uniform(0, 8), seen.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)

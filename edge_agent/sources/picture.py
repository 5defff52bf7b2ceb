"""Reads a picture file into RGB pixels: upright, of any colour mode, in little memory."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edge_agent.errors import SourceError

SHORTER_SIDE_PX = 512
"""Pictures are scaled down early, but their shorter side stays at least this long: twice what networks
resize to, so that their own antialiased resize still decides what they see."""

MOST_PIXELS = 24_000_000
"""The limit for a picture that must be decoded at full size; Pillow takes four bytes for each pixel."""

_ORIENTATION, _UPRIGHT = 0x0112, 1  # EXIF 2.3, 4.6.4 A
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_REDUCIBLE_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return the picture at `path` as RGB, shape (height, width, 3), uint8, turned as its EXIF data says.

    The content decides on the format, not the suffix. Transparency is ignored. A big picture comes back
    smaller, see SHORTER_SIDE_PX. Raises SourceError, naming the file, when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(12)[8:] == b"WEBP":
                # Pillow itself would import all of its forty formats to find this one.
                from PIL import WebPImagePlugin  # noqa: F401
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # oddities of the file, of no interest when it can be decoded
                with Image.open(file, formats=_FORMATS) as picture:
                    return _decode(picture)
    except OSError as error:
        raise SourceError(f"cannot read the picture {path}: {error.strerror or error}") from error
    except Exception as error:
        # Nearly any exception can come out of a decoder that is fed damaged bytes.
        raise SourceError(f"cannot read the picture {path}: {error or type(error).__name__}") from error


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names, which may be none.

    The suffix decides, in upper or lower case; files whose names begin with a dot are left out. Raises
    OSError when the folder cannot be listed.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _decode(picture: Image.Image) -> NDArray[np.uint8]:
    _draft(picture)
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels are too many to decode; save it smaller, or as JPEG")
    if picture.mode not in _REDUCIBLE_MODES:
        picture = _to_rgb(picture)
    if (factor := min(width, height) // SHORTER_SIDE_PX) > 1:
        picture = picture.reduce(factor)
    if picture.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
        picture = ImageOps.exif_transpose(picture)  # it would copy an upright one
    return np.asarray(_to_rgb(picture))


def _draft(picture: Image.Image) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8, which costs that much less memory; other formats ignore it."""
    scale = SHORTER_SIDE_PX / min(picture.size)
    if scale < 1:
        picture.draft(None, (round(picture.width * scale), round(picture.height * scale)))


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture  # convert() would copy it
    if picture.mode.startswith("I"):  # 16 bits a pixel: keep the upper 8, where convert() would clip
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("P", "PA"):
        return picture.convert("RGBA").convert("RGB")  # a palette may hold transparency
    return picture.convert("RGB")

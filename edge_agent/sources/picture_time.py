"""Says when a picture was taken: by its EXIF data, if a camera has written any, else by the file's time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

from PIL import Image

# EXIF 2.3, 4.6.5 F: the time when the picture was taken, and its zone, in a directory of their own; and the
# time of the file, beside them.
_EXIF, _TAKEN, _ZONE, _CHANGED = 0x8769, 0x9003, 0x9011, 0x0132


def taken_s(file: BinaryIO) -> float:
    """Return when the picture in an open file was taken, in seconds since 1970.

    Call it for a picture that could be decoded: others may take more memory than there is.
    """
    for text in _texts(file):
        with suppress(ValueError, OverflowError, OSError):
            return _seconds(text)
    return os.fstat(file.fileno()).st_mtime


def _texts(file: BinaryIO) -> list[str]:
    """What EXIF says, the best first, as `2026:11:26 18:05:00+01:00`, with or without a zone."""
    try:
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=("JPEG",)) as picture:
                exif = picture.getexif()
                inner: Mapping[int, Any] = exif.get_ifd(_EXIF)
                taken, zone, changed = inner.get(_TAKEN), inner.get(_ZONE), exif.get(_CHANGED)
    except Exception:  # damaged EXIF data do not lose the picture
        return []
    return [f"{taken}{zone or ''}", f"{taken}", f"{changed}"]


def _seconds(text: str) -> float:
    """Without a zone it is local time. Raises ValueError, OverflowError or OSError for what is no time."""
    form = "%Y:%m:%d %H:%M:%S"
    moment = text.strip("\0 ")
    taken = datetime.strptime(moment, form if len(moment) <= len("2026:11:26 18:05:00") else f"{form}%z")
    if taken.timestamp() <= 0:
        raise ValueError("the camera had no clock")
    return taken.timestamp()

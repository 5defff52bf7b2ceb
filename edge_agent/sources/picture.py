"""Reads a picture file into RGB pixels: upright, of any colour mode, in the memory that there is room for."""

from __future__ import annotations

import io
import os
import stat
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.memory.room import command_room
from edge_agent.sources.decode_cost import DecodePlan
from edge_agent.sources.picture_header import (
    PictureError,
    damaged,
    has_all_scans,
    has_end,
    next_restart,
    read_header,
    unfinished,
)
from edge_agent.system.text import printable

_ORIENTATION, _UPRIGHT = 0x0112, 1  # EXIF 2.3, 4.6.4 A
_TURNED, _UPSIDE_DOWN, _MIRRORED = (5, 6, 7, 8), (3, 4, 6, 7), (2, 3, 7, 8)
_REDUCIBLE_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")

_JPEG_END = b"\xff\xd9"
_MORE_PIXELS = (b"\x5a\xa5\xc3\x3c" * 256, b"\xa5\x5a\x3c\xc3" * 256)
"""What a JPEG that lacks pixels would show in their place, and a whole one does not."""

Pixels = NDArray[np.uint8]


def read_picture(path: Path, room_bytes: int | None = None) -> Pixels:
    """Return the picture at `path` as RGB, shape (height, width, 3), uint8, turned as its EXIF data says.

    The content decides on the format, not the suffix: JPEG, PNG, WebP or BMP. Transparency is ignored. A big
    picture comes back smaller, see SHORTER_SIDE_PX. What decoding takes is known before it begins, and is no
    more than `room_bytes`; without them, than a command may take. Raises PictureError, naming the file.
    """
    with open_picture(path) as file:
        return read_opened(file, path, room_bytes)


def open_picture(path: Path) -> BinaryIO:
    """Open a plain file for `read_opened`, which may have other rights by then. Raises PictureError."""
    try:
        return _open_file(path)
    except PictureError as error:
        raise _named(printable(path), error) from None
    except OSError as error:
        raise _named(printable(path), PictureError(_reason(error))) from None


def read_opened(file: BinaryIO, path: Path, room_bytes: int | None = None) -> Pixels:
    """Return the picture in a file that is open already, as `read_picture` does."""
    try:
        return _read(file, room_bytes)
    except PictureError as error:
        raise _named(printable(path), error) from None
    except OSError as error:
        raise _named(printable(path), PictureError(_reason(error))) from None


def decode_picture(data: bytes, name: str, room_bytes: int | None = None) -> Pixels:
    """Return the picture file `data`, which came from elsewhere, as `read_picture` does.

    `name` says what it is, for messages. The data's own memory is not counted. Raises PictureError.
    """
    try:
        return _read(io.BytesIO(data), room_bytes)
    except PictureError as error:
        raise _named(printable(name), error) from None


def _named(name: str, error: PictureError) -> PictureError:
    return PictureError(f"cannot read the picture {name}: {error}", error.trouble)


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "this user may not read it; check its permissions and its folder's"
    return error.strerror or "the device failed"


def _open_file(path: Path) -> BinaryIO:
    """Open a plain file. A pipe is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"))
    kind = next((kind for is_kind, kind in kinds if is_kind(mode)), "a device")
    raise PictureError(f"it is {kind}, and no file")


def _read(file: BinaryIO, room_bytes: int | None) -> Pixels:
    try:
        plan = DecodePlan.for_room(read_header(file), command_room() if room_bytes is None else room_bytes)
    except Exception as error:
        raise _trouble(error) from None
    try:
        return _decode(file, plan)
    except Exception as error:
        trouble = _trouble(error)
    # The exception is gone by now, and with it what was decoded: there is room for a second try.
    if plan.header.format == "JPEG" and not _has_end(file):
        return _decode_without_end(file, plan)
    raise trouble


def _trouble(error: Exception) -> PictureError:
    """Nearly any exception can come out of a decoder that is fed damaged bytes."""
    if isinstance(error, PictureError):
        return error.with_traceback(None)
    if isinstance(error, MemoryError):
        return PictureError("there is not enough memory to decode it", "too large")
    if isinstance(error, OSError) and error.errno is not None:
        return PictureError(_reason(error))
    return unfinished() if isinstance(error, EOFError) or "truncated" in str(error) else damaged()


def _has_end(file: BinaryIO) -> bool:
    try:
        return has_end(file)
    except PictureError:
        return False


def _decode_without_end(file: BinaryIO, plan: DecodePlan) -> Pixels:
    """Decode a JPEG that lacks its end marker, where it lacks no pixel. Raises PictureError where it does.

    The decoder fills in lacking pixels without a word. So the file is first decoded with something after it
    that would be taken for further pixels: where that is never seen, there are none that lack.
    """
    try:
        if not has_all_scans(file):
            raise unfinished()
        restart = next_restart(file)
        seen = {
            zlib.crc32(_decode(_continued(file, more + restart + more + _JPEG_END), plan).data)
            for more in _MORE_PIXELS
        }
        pixels = _decode(_continued(file, _JPEG_END), plan)
    except Exception:  # as above
        raise unfinished() from None
    if seen != {zlib.crc32(pixels.data)}:
        raise unfinished()
    return pixels


def _decode(file: BinaryIO, plan: DecodePlan) -> Pixels:
    file.seek(0)
    header = plan.header
    if header.format == "WEBP":
        # Pillow itself would import all of its forty formats to find this one.
        from PIL import WebPImagePlugin  # noqa: F401
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities of the file, of no interest when it can be decoded
        with Image.open(file, formats=(header.format,)) as picture:
            _expect_size(picture, (header.width, header.height))
            if plan.scale > 1:
                picture.draft(None, (header.width // plan.scale, header.height // plan.scale))
            _expect_size(picture, plan.decoded_size)
            picture.load()
            return _upright_rgb(picture, plan)


def _expect_size(picture: Image.Image, size: tuple[int, int]) -> None:
    """What Pillow is about to decode is what the memory was computed for."""
    if picture.size != size:
        raise damaged("it says twice how large it is")


def _upright_rgb(picture: Image.Image, plan: DecodePlan) -> Pixels:
    """Shrink, convert and turn a decoded picture in bands: no second copy of it is ever in memory."""
    width, height = plan.size
    orientation = _orientation(picture)
    shape = (width, height, 3) if orientation in _TURNED else (height, width, 3)
    upright = np.empty(shape, np.uint8)
    as_stored = _as_stored(upright, orientation)
    for top in range(0, picture.height, plan.band_rows):
        bottom = min(top + plan.band_rows, picture.height)
        rows = _rgb(picture.crop((0, top, picture.width, bottom)), plan.factor)
        first = top // plan.factor
        as_stored[first : first + len(rows)] = rows
    return upright


def _rgb(band: Image.Image, factor: int) -> Pixels:
    if factor > 1:
        if band.mode not in _REDUCIBLE_MODES:
            band = _to_rgb(band)
        band = band.reduce(factor)
    return np.asarray(_to_rgb(band))


def _orientation(picture: Image.Image) -> object:
    try:
        return picture.getexif().get(_ORIENTATION, _UPRIGHT)
    except Exception:  # damaged EXIF data do not lose the picture
        return _UPRIGHT


def _as_stored(upright: Pixels, orientation: object) -> Pixels:
    """A view of an upright picture in which rows and columns are those of the file."""
    view = upright.swapaxes(0, 1) if orientation in _TURNED else upright
    if orientation in _UPSIDE_DOWN:
        view = view[::-1]
    return view[:, ::-1] if orientation in _MIRRORED else view


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture  # convert() would copy it
    if picture.mode.startswith("I"):  # 16 bits a pixel: keep the upper 8, where convert() would clip
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("P", "PA"):
        return picture.convert("RGBA").convert("RGB")  # a palette may hold transparency
    return picture.convert("RGB")


def _continued(file: BinaryIO, more: bytes) -> BinaryIO:
    return cast(BinaryIO, _Continued(file, more))


class _Continued:
    """A file that goes on with other bytes after its end, as far as Pillow reads one."""

    def __init__(self, file: BinaryIO, more: bytes) -> None:
        self._file = file
        self._end = file.seek(0, os.SEEK_END)
        file.seek(max(0, self._end - 1))
        # A last byte of 0xFF would make a marker of the next one; 0 says that it is part of a pixel.
        is_open_ended = file.read(1) == b"\xff" and not more.startswith(b"\xff")
        self._more = b"\0" * is_open_ended + more
        self._position = 0

    def read(self, count: int = -1) -> bytes:
        rest = max(0, self._end + len(self._more) - self._position)
        count = rest if count < 0 else min(count, rest)
        self._file.seek(min(self._position, self._end))
        data = self._file.read(min(count, max(0, self._end - self._position)))
        begin = self._position + len(data) - self._end
        data += self._more[begin : begin + count - len(data)] if len(data) < count else b""
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end + len(self._more)}
        self._position = bases[whence] + offset
        return self._position

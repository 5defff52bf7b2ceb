"""Reads from a picture file's header what decoding it will take, before anything is decoded.

JPEG, PNG, WebP and BMP are read, and nothing else: a decoder that is never opened needs no trust. This is not
left to Pillow, which keeps all that it finds in a header in memory, and says nothing about the decoder's own.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import BinaryIO, Literal

from edge_agent.errors import SourceError
from edge_agent.lean_dataclass import dataclass
from edge_agent.sources.file_kind import LONGEST_SIGN, kind_of

PictureFormat = Literal["JPEG", "PNG", "WEBP", "BMP"]
Trouble = Literal["unreadable", "unfinished", "too large"]

WANTED = "JPEG, PNG, WebP or BMP"
MOST_PIXELS = 178_956_970
"""Pillow refuses more, in any format."""

_MB = 1 << 20
_MOST_PARTS = 100_000  # of one file: each costs time
_MOST_JUNK_BYTES = 256  # between two of them
_MOST_SCANS = 100  # of one JPEG: each takes the time of a whole picture, where ten are usual
_BLOCK_BYTES = 1 << 16

_METADATA_COPIES = 3  # Pillow's: as it is read, as the list has it, and joined
_CHARACTER_BYTES = 4  # of every character, where one of them is rare
_LONGEST_TEXT = _MB  # packed texts and colour profiles: Pillow unpacks no longer ones

_JPEG_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xCA})
_JPEG_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})
_JPEG_LONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_RESTART_OR_SCAN = re.compile(rb"\xff[\xd0-\xd7\xda]")
_LONGEST_SCAN_HEAD = 1 + 2 * 4 + 3
_JPEG_BLOCK_BYTES = 64 * 2  # coefficients of two bytes

_LONGEST_KEYWORD = 79
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_WEBP_PIXEL_BYTES = 16
"""Two canvases, the decoder's picture and Pillow's, of four bytes each."""
_BMP_RLE4, _BMP_RLE8 = 2, 1


class PictureError(SourceError):
    """A file cannot be taken for a picture: it is something else, is damaged, ends too early or is too large.

    `trouble` says which: an unfinished one may be whole in a moment.
    """

    def __init__(self, message: str, trouble: Trouble = "unreadable") -> None:
        super().__init__(message)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What a picture file says about itself."""

    format: PictureFormat
    width: int
    height: int
    pixel_bytes: int
    """What each decoded pixel takes, while the whole picture is in memory."""
    row_bytes: int = 0
    """What the decoder needs for the rows at work."""
    fixed_bytes: int = 0
    """What is taken besides, however small it is decoded: metadata, coefficients, the file itself."""
    kind: str = ""
    """What makes it expensive: `progressive`."""


def read_header(file: BinaryIO) -> PictureHeader:
    """Return the header of the picture in `file`, which must be at its beginning and able to seek.

    Raises PictureError, without a name, for what is no JPEG, PNG, WebP or BMP, or has a broken header.
    """
    first = file.read(LONGEST_SIGN)
    reader = _reader_for(first)
    if reader is None:
        raise PictureError(_refusal(first), "unreadable" if first else "unfinished")
    try:
        header = reader(file)
    except (struct.error, IndexError):
        raise unfinished() from None
    if not header.width or not header.height:
        raise damaged(f"its size is given as {header.width} x {header.height}")
    if header.width * header.height > MOST_PIXELS:
        raise PictureError(
            f"{header.width} x {header.height} pixels are too many; save it smaller", "too large"
        )
    return header


def unfinished() -> PictureError:
    """The error for a file that lacks its end."""
    return PictureError("it ends too early: it is still being written, or was not copied whole", "unfinished")


def damaged(what: str = "") -> PictureError:
    """The error for a file whose bytes make no picture."""
    return PictureError(f"it is damaged{': ' * bool(what)}{what}")


def has_end(file: BinaryIO) -> bool:
    """Whether a JPEG has its end marker; one in its metadata does not count. Raises PictureError."""
    _jpeg_header(file)  # goes to the first scan
    return any(True for _ in _offsets(file, b"\xff\xd9"))


def has_all_scans(file: BinaryIO) -> bool:
    """Whether a JPEG has begun the last scan of every coefficient that it needs. Raises PictureError."""
    frame = _jpeg_header(file)
    heads = [frame.scan]
    for offset in list(islice(_offsets(file, b"\xff\xda"), _MOST_SCANS)):
        file.seek(offset + 4)
        heads.append(file.read(_LONGEST_SCAN_HEAD))
    bits_left: dict[int, list[int]] = {}
    for head in heads:
        components = head[0]
        first, last, precision = head[1 + 2 * components : 4 + 2 * components]
        for component in head[1 : 1 + 2 * components : 2]:
            for index in range(first, min(last, 63) + 1):
                bits_left.setdefault(component, [-1] * 64)[index] = precision & 15
    return len(bits_left) >= len(frame.sampling) and not any(chain.from_iterable(bits_left.values()))


def next_restart(file: BinaryIO) -> bytes:
    """The restart marker that comes next where a JPEG was cut off. Raises PictureError."""
    _jpeg_header(file)
    number, last = 0, b""
    while block := file.read(_BLOCK_BYTES):
        for found in _RESTART_OR_SCAN.finditer(last + block):
            marker = found[0][1]
            number = 0 if marker == 0xDA else (marker - 0xCF) % 8
        last = block[-1:]
    return bytes([0xFF, 0xD0 + number])


def _refusal(first: bytes) -> str:
    kind = kind_of(first)
    if "git lfs" in kind or kind == "empty":
        return f"it is {kind}"
    return f"it is {kind}, and not {WANTED}"


def _reader_for(first: bytes) -> Callable[[BinaryIO], PictureHeader] | None:
    if first.startswith(b"\xff\xd8"):
        return _read_jpeg
    if first.startswith(b"\x89PNG\r\n\x1a\n"):
        return _read_png
    if first.startswith(b"RIFF") and first[8:12] == b"WEBP":
        return _read_webp
    return _read_bmp if first.startswith(b"BM") else None


def _exactly(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise unfinished()
    return found


def _size_of(file: BinaryIO) -> int:
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


# JPEG: ITU-T T.81, annex B


@dataclass(frozen=True, slots=True)
class _JpegFrame:
    marker: int
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    """Horizontal and vertical, of each component."""
    metadata_bytes: int
    scan: bytes
    """The head of the first scan: how many components it has, which, and what of them."""

    @property
    def is_progressive(self) -> bool:
        return self.marker in _JPEG_PROGRESSIVE

    @property
    def coefficient_bytes(self) -> int:
        """What a decoder keeps of a picture whose pixels come in several scans."""
        if not self.is_progressive and self.scan[0] >= len(self.sampling):
            return 0
        widest, highest = max(h for h, _ in self.sampling), max(v for _, v in self.sampling)
        units = math.ceil(self.width / (8 * widest)) * math.ceil(self.height / (8 * highest))
        return units * sum(h * v for h, v in self.sampling) * _JPEG_BLOCK_BYTES


def _read_jpeg(file: BinaryIO) -> PictureHeader:
    frame = _jpeg_header(file)
    coefficients = frame.coefficient_bytes
    if coefficients and any(islice(_offsets(file, b"\xff\xda"), _MOST_SCANS, None)):
        raise damaged(f"it has more than {_MOST_SCANS} scans")
    return PictureHeader(
        "JPEG",
        frame.width,
        frame.height,
        pixel_bytes=1 if len(frame.sampling) == 1 else 4,
        row_bytes=frame.width * len(frame.sampling) * 24,
        fixed_bytes=coefficients + _METADATA_COPIES * frame.metadata_bytes,
        kind="progressive" if frame.is_progressive else "",
    )


def _jpeg_header(file: BinaryIO) -> _JpegFrame:
    """Read up to the first scan's pixels."""
    file.seek(2)
    metadata_bytes = 0
    found: tuple[int, bytes] | None = None
    for _ in range(_MOST_PARTS):
        marker = _jpeg_marker(file)
        if marker in _JPEG_LONE:
            continue
        if marker == 0xD9:
            raise damaged("it has no pixels")
        length = int.from_bytes(_exactly(file, 2), "big") - 2
        if length < 0:
            raise damaged("a part of it has no length")
        if marker in _JPEG_OTHER_FRAMES:
            raise PictureError("it is a lossless or hierarchical JPEG; save it as an ordinary one")
        if marker in _JPEG_SEQUENTIAL | _JPEG_PROGRESSIVE:
            if found is not None:
                raise damaged("it says twice how large it is")
            found = (marker, _exactly(file, length))
        elif marker == 0xDA:
            if found is None:
                raise damaged("it does not say how large it is")
            return _jpeg_frame(*found, metadata_bytes, _exactly(file, length))
        else:
            metadata_bytes += length
            file.seek(length, os.SEEK_CUR)
    raise damaged("its header has too many parts")


def _jpeg_marker(file: BinaryIO) -> int:
    """The next marker; bytes before it, and those that fill, are passed over."""
    passed = 0
    while _exactly(file, 1) != b"\xff" and passed < _MOST_JUNK_BYTES:
        passed += 1
    while (byte := _exactly(file, 1)) == b"\xff" and passed < _MOST_JUNK_BYTES:
        passed += 1
    if passed >= _MOST_JUNK_BYTES:
        raise damaged("there is something between the parts of its header")
    return byte[0]


def _jpeg_frame(marker: int, segment: bytes, metadata_bytes: int, scan: bytes) -> _JpegFrame:
    bits, height, width, components = struct.unpack(">BHHB", segment[:6])
    sampling = tuple((segment[7 + 3 * i] >> 4, segment[7 + 3 * i] & 15) for i in range(components))
    if bits != 8:
        raise PictureError(f"it has {bits} bits a colour, which cannot be read; save it with 8")
    if components not in (1, 3, 4) or not all(1 <= h <= 4 and 1 <= v <= 4 for h, v in sampling):
        raise damaged(f"{components} colours with the sampling {sampling}")
    return _JpegFrame(marker, width, height, sampling, metadata_bytes, scan)


def _offsets(file: BinaryIO, marker: bytes) -> Iterator[int]:
    """Where a marker of two bytes comes from here on; pixels never look like one."""
    begin, data = file.tell(), b""
    while block := file.read(_BLOCK_BYTES):
        begin, data = begin + len(data) - len(data[-1:]), data[-1:] + block
        at = data.find(marker)
        while at >= 0:
            yield begin + at
            at = data.find(marker, at + 2)


# PNG: W3C, third edition, section 5


def _read_png(file: BinaryIO) -> PictureHeader:
    file.seek(8)
    if _exactly(file, 8) != b"\0\0\0\x0dIHDR":
        raise damaged("it does not begin with its header")
    header = _exactly(file, 13)
    if zlib.crc32(b"IHDR" + header) != int.from_bytes(_exactly(file, 4), "big"):
        raise damaged("the checksum of its header is wrong")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _PNG_CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise damaged(f"colours of type {colour} with {depth} bits")
    row_bytes = -(-width * _PNG_CHANNELS[colour] * depth // 8)
    return PictureHeader(
        "PNG",
        width,
        height,
        pixel_bytes=1 if colour == 3 or (colour == 0 and depth <= 8) else 4,
        row_bytes=3 * row_bytes,
        fixed_bytes=_png_metadata_bytes(file),
        kind="interlaced" if interlaced else "",
    )


def _png_metadata_bytes(file: BinaryIO) -> int:
    """What Pillow keeps of the parts that are not pixels, unpacked where they are packed."""
    kept = passing = 0
    size = _size_of(file)
    for _ in range(_MOST_PARTS):
        head = file.read(8)
        if len(head) < 8:
            break  # it ends too early, or lacks only its end: the decoder will say
        length, name = min(int.from_bytes(head[:4], "big"), size), head[4:]
        if name == b"IEND":
            break
        body = file.tell()
        if name != b"IDAT":
            part = _png_part(name, length, file)
            kept, passing = kept + part[0], max(passing, part[1])
        file.seek(body + length + 4)
    else:
        raise damaged("it has too many parts")
    return kept + passing


def _png_part(name: bytes, length: int, file: BinaryIO) -> tuple[int, int]:
    """What Pillow keeps of one part, and what it needs meanwhile, in bytes."""
    if name == b"fdAT":  # a later frame of an animation
        return 0, length
    if name in (b"zTXt", b"iCCP"):
        return length + _LONGEST_TEXT, 2 * _LONGEST_TEXT
    if name == b"iTXt":
        is_packed = file.read(_LONGEST_KEYWORD + 2).partition(b"\0")[2][:1] == b"\1"
        characters = _LONGEST_TEXT if is_packed else length
        return length + characters * _CHARACTER_BYTES, characters * (_CHARACTER_BYTES + 1)
    return _METADATA_COPIES * length, 0


# WebP: RFC 9649


def _read_webp(file: BinaryIO) -> PictureHeader:
    file.seek(4)
    announced = int.from_bytes(_exactly(file, 4), "little") + 8
    size = _size_of(file)
    if size < announced:
        raise unfinished()
    file.seek(12)
    name, data = _exactly(file, 4), file.read(14)[4:]
    width, height = _webp_size(name, data)
    return PictureHeader(
        "WEBP", width, height, pixel_bytes=_WEBP_PIXEL_BYTES, fixed_bytes=_METADATA_COPIES * size
    )


def _webp_size(name: bytes, data: bytes) -> tuple[int, int]:
    if name == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if name == b"VP8 ":
        width, height = struct.unpack("<HH", data[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if name == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise damaged("it does not begin with its header")


# BMP: as Windows writes it


def _read_bmp(file: BinaryIO) -> PictureHeader:
    file.seek(14)
    length = int.from_bytes(_exactly(file, 4), "little")
    if length != 12 and not 40 <= length <= 200:
        raise PictureError(f"it begins like a BMP picture, but is none that can be read; save it as {WANTED}")
    info = _exactly(file, length - 4)
    compression = 0
    if length == 12:
        width, height, _, bits = struct.unpack("<HHHH", info[:8])
    else:
        width, height, _, bits, compression = struct.unpack("<iiHHI", info[:16])
    pixel_bytes = 1 if bits <= 8 else 4
    # Run lengths are unpacked in Python, into two copies of a byte a pixel.
    unpacked = 2 * abs(width * height) if compression in (_BMP_RLE4, _BMP_RLE8) else 0
    row_bytes = 2 * (-(-abs(width) * bits // 32) * 4)
    return PictureHeader("BMP", abs(width), abs(height), pixel_bytes, row_bytes, unpacked)

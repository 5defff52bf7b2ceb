"""A model directory as one file: an uncompressed tar archive of plain files, read by a reader of its own.

Nothing that it unpacks can be larger than the archive, or lie elsewhere than in the directory given, and no
header can fill the memory: sizes are bounded by what is left, and names are plain.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import ModelError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.files import sync

MOST_FILES = 16
_BLOCK = 512
_PIECE = 1 << 16
_MAGIC = b"ustar"
_NAME = re.compile(rb"[A-Za-z0-9_-][A-Za-z0-9._-]{0,98}")
_SIZE = re.compile(rb" *[0-7]{1,11}[ \0]")
_PLAIN_FILE = (b"0", b"\0")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A file that came out of a bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    bytes: int


def unpack(bundle: BinaryIO, directory: Path) -> dict[str, Unpacked]:
    """Write the files of a bundle into an empty directory, and onto the disk; returns them by their names.

    Raises ModelError for anything that is no bundle, OSError where the disk refuses.
    """
    left = os.fstat(bundle.fileno()).st_size
    found: dict[str, Unpacked] = {}
    while (entry := _next_entry(bundle)) is not None:
        left -= _BLOCK
        if entry.name in found or len(found) == MOST_FILES:
            raise ModelError(f"the bundle has {entry.name} twice, or more than {MOST_FILES} files")
        if entry.bytes > left:
            raise ModelError(f"the bundle ends within {entry.name}")
        found[entry.name] = _write(bundle, entry, directory / entry.name)
        left -= entry.bytes + _skip_padding(bundle, entry.bytes)
    sync(directory)
    return found


def _next_entry(bundle: BinaryIO) -> _Entry | None:
    """The next header; None where the bundle ends, after which nothing may come."""
    header = bundle.read(_BLOCK)
    if header == bytes(_BLOCK):
        while piece := bundle.read(_PIECE):
            if piece.strip(b"\0"):
                raise ModelError("the bundle goes on behind its end")
        return None
    if len(header) < _BLOCK or not header[257:262].startswith(_MAGIC) or not _has_its_sum(header):
        raise ModelError("it is no bundle, as `edge-agent model bundle` makes them, or is damaged")
    name, size, kind = header[:100].rstrip(b"\0"), header[124:136], header[156:157]
    if kind not in _PLAIN_FILE or not _NAME.fullmatch(name) or header[345:500].strip(b"\0"):
        raise ModelError("the bundle holds something other than plain files with plain names")
    if not _SIZE.fullmatch(size):
        raise ModelError("the bundle holds a file of no size that can be read")
    return _Entry(name.decode("ascii"), int(size.strip(b" \0"), 8))


def _has_its_sum(header: bytes) -> bool:
    written = header[148:156].strip(b" \0")
    expected = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    return re.fullmatch(rb"[0-7]{1,7}", written) is not None and int(written, 8) == expected


def _write(bundle: BinaryIO, entry: _Entry, path: Path) -> Unpacked:
    digest, left = hashlib.sha256(), entry.bytes
    with path.open("xb") as file:
        while left:
            piece = bundle.read(min(left, _PIECE))
            if not piece:
                raise ModelError(f"the bundle ends within {entry.name}")
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
        file.flush()
        os.fsync(file.fileno())
    return Unpacked(entry.bytes, digest.hexdigest())


def _skip_padding(bundle: BinaryIO, size: int) -> int:
    padding = -size % _BLOCK
    if bundle.read(padding).strip(b"\0"):
        raise ModelError("the bundle is damaged between its files")
    return padding

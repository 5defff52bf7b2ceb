"""Writes a zip file as torch does: nothing is packed, and each entry's bytes begin at a multiple of 64."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from types import TracebackType
from typing import BinaryIO

ALIGNMENT = 64
_HEADER_BYTES = 30
_PADDING_FIELD = b"FB"
"""torch names the extra field so that fills a header up."""


class StoredZip:
    """A zip file that grows entry by entry, all of them in one folder; a context manager that completes it.

    The same entries give the same bytes, at any time and on any machine.
    """

    def __init__(self, file: BinaryIO, folder: str) -> None:
        """`file`: empty, and can be positioned."""
        self._file = file
        self._folder = folder
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> StoredZip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.__exit__(kind, error, trace)

    def add(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write an entry piece by piece, of less than 2 GiB. Raises OSError."""
        entry = zipfile.ZipInfo(f"{self._folder}/{name}", (1980, 1, 1, 0, 0, 0))
        entry.create_system = 0  # else it says on what it was written
        entry.extra = _padding(self._file.tell() + _HEADER_BYTES + len(entry.filename))
        with self._zip.open(entry, "w") as stream:
            for piece in pieces:
                stream.write(piece)


def _padding(position: int) -> bytes:
    """The extra field, at `position`, that ends at a multiple of ALIGNMENT."""
    head = struct.calcsize("<2sH")
    fill = -(position + head) % ALIGNMENT
    return struct.pack("<2sH", _PADDING_FIELD, fill) + b"Z" * fill

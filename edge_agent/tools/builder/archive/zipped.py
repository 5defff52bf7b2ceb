"""A zip archive: its entries are mapped where they are stored, and unpacked within limits where packed."""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from pathlib import Path

from edge_agent.errors import ModelError
from edge_agent.system.text import printable

_LARGEST_DIRECTORY_BYTES = 32 << 20
_LARGEST_PACKED_BYTES = 256 << 20
_MOST_PACKED = 200
"""So many times its size may an entry unfold to."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LARGE_END = struct.Struct("<Q")
_END = struct.Struct("<4s4x2HII2x")


class ZipView:
    """The entries of a zip archive, by the names below their common folder."""

    def __init__(self, path: Path) -> None:
        """Map the file. Raises ModelError where it is not a zip archive, or a damaged one."""
        self._path = path
        self._data = map_file(path)
        self._unpacked = 0
        try:
            self._check_directory()
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
            raise self._damaged("an archive without its end") from error
        root = entries[0].filename.partition("/")[0] if entries else ""
        self._entries = {entry.filename.removeprefix(f"{root}/"): entry for entry in entries}

    @property
    def names(self) -> list[str]:
        """The names of all entries."""
        return list(self._entries)

    @property
    def is_big_endian(self) -> bool:
        """Whether it says so of the numbers in it."""
        return "byteorder" in self and bytes(self.read("byteorder")) != b"little"

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> memoryview:
        """Return an entry: a view of the file where it is stored. Raises ModelError where it is not whole."""
        entry = self._entries.get(name)
        if entry is None:
            raise self._damaged(f"its entry {printable(name, 80)} is missing")
        raw = self._raw(entry)
        if entry.compress_type == zipfile.ZIP_STORED:
            content = raw
        elif entry.compress_type == zipfile.ZIP_DEFLATED:
            content = self._unpack(raw, entry)
        else:
            raise self._damaged(f"its entry {printable(name, 80)} is packed in an unknown way")
        if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
            raise self._damaged(f"its entry {printable(name, 80)} is not what was written")
        return content

    def _raw(self, entry: zipfile.ZipInfo) -> memoryview:
        begin = entry.header_offset
        header = self._data[begin : begin + _LOCAL_HEADER.size]
        if len(header) < _LOCAL_HEADER.size or bytes(header[:4]) != b"PK\x03\x04":
            raise self._damaged("an entry is not where it should be")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        begin += _LOCAL_HEADER.size + name_bytes + extra_bytes
        return self._data[begin : begin + entry.compress_size]

    def _unpack(self, raw: memoryview, entry: zipfile.ZipInfo) -> memoryview:
        self._unpacked += entry.file_size
        too_much = entry.file_size > max(_MOST_PACKED * len(raw), 1 << 20)
        if too_much or self._unpacked > _LARGEST_PACKED_BYTES:
            raise ModelError(
                f"{printable(self._path)}: unfolds to much more than its size, and is not read; save it again"
                " with torch, which packs nothing"
            )
        machine = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            return memoryview(machine.decompress(raw, entry.file_size))
        except zlib.error as error:
            raise self._damaged("an entry cannot be unpacked") from error

    def _check_directory(self) -> None:
        """Refuse a list of entries that would take much memory before zipfile reads it."""
        tail = bytes(self._data[-(_END.size + 0xFFFF) :])
        place = tail.rfind(b"PK\x05\x06")
        if place < 0 or place + _END.size > len(tail):
            raise self._damaged("an archive without its end")
        _, _, _, directory_bytes, _ = _END.unpack_from(tail, place)
        if directory_bytes == 0xFFFFFFFF:  # the number is in the record for large archives
            (directory_bytes,) = _LARGE_END.unpack_from(tail, tail.rfind(b"PK\x06\x06", 0, place) + 40)
        if directory_bytes > _LARGEST_DIRECTORY_BYTES:
            raise self._damaged("more entries than any network has")

    def _damaged(self, how: str) -> ModelError:
        return ModelError(f"{printable(self._path)}: cut off or damaged ({how}): fetch it again")


def map_file(path: Path) -> memoryview:
    """Map a file, read-only; it stays mapped as long as something of it is in use. Raises ModelError."""
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # ValueError: an empty file
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{printable(path)}: cannot be read: {reason}") from error

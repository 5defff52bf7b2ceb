"""Finds events in a damaged SQLite file, page by page, without SQLite: whatever else is broken in the file.

The format is described at https://www.sqlite.org/fileformat2.html. Only the pages that hold rows are looked
at, so neither the schema nor the tree above them is needed; a row's own checksum says whether it is whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from edge_agent.mqtt.events.row import Row, decode

_LEAF = 0x0D
_HEADER_BYTES = 100  # of the file, on its first page
_USUAL_PAGE_BYTES = 4096
_LEAST_COLUMNS, _COLUMNS = 8, 10  # a row of an older release has no checksum, and no region
_REALS = (1, 5, 6)
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def rows_in(path: Path) -> Iterator[Row | None]:
    """Yield each row of the file that is whole, in no order, and None for each that is damaged.

    A row that was deleted lately may be among them. Raises OSError.
    """
    with path.open("rb") as file:
        size = _page_bytes(file.read(_HEADER_BYTES))
        file.seek(0)
        number = 0
        while page := file.read(size):
            yield from _rows_of_page(page, _HEADER_BYTES if number == 0 else 0)
            number += 1


def _page_bytes(header: bytes) -> int:
    (size,) = struct.unpack_from(">H", header.ljust(_HEADER_BYTES, b"\0"), 16)
    is_valid = 512 <= size <= 32768 and size & (size - 1) == 0
    return size if is_valid else _USUAL_PAGE_BYTES


def _rows_of_page(page: bytes, start: int) -> Iterator[Row | None]:
    if len(page) < start + 8 or page[start] != _LEAF:
        return
    (cells,) = struct.unpack_from(">H", page, start + 3)
    pointers = page[start + 8 : start + 8 + 2 * cells]
    for (pointer,) in struct.iter_unpack(">H", pointers[: len(pointers) // 2 * 2]):
        try:
            values = _cell(page, pointer)
        except (IndexError, ValueError, struct.error):
            yield None
            continue
        if values is not None:
            yield decode(values)


def _cell(page: bytes, position: int) -> list[object] | None:
    """The values of a row in a page; None for one of another table. Raises ValueError, IndexError."""
    length, position = _varint(page, position)
    rowid, position = _varint(page, position)
    body = page[position : position + length]
    if len(body) < length:
        raise ValueError("the row goes on elsewhere, or is cut")
    end, position = _varint(body, 0)
    kinds: list[int] = []
    while position < end:
        kind, position = _varint(body, position)
        kinds.append(kind)
    if len(kinds) < _LEAST_COLUMNS or kinds[0] != 0:  # the key of a row is NULL in the row itself
        return None
    values: list[object] = []
    for kind in kinds:
        value, end = _value(body, end, kind)
        values.append(value)
    values[0] = rowid
    for index in _REALS:  # SQLite stores 2.0 as 2
        if isinstance(value := values[index], int):
            values[index] = float(value)
    return [*values, *[None] * (_COLUMNS - len(values))]


def _value(body: bytes, position: int, kind: int) -> tuple[object, int]:
    if kind == 0:
        return None, position
    if kind in (8, 9):
        return kind - 8, position
    if kind == 7:
        return struct.unpack_from(">d", body, position)[0], position + 8
    if kind in _INTEGERS:
        end = position + _INTEGERS[kind]
        return int.from_bytes(body[position:end], "big", signed=True), end
    if kind < 12:
        raise ValueError("no such type")
    end = position + (kind - 12) // 2
    if end > len(body):
        raise ValueError("the text is cut")
    return body[position:end], end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, and the position behind it. Raises IndexError."""
    number = 0
    for index in range(9):
        byte = data[position + index]
        if index == 8:
            return number << 8 | byte, position + 9
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            return number, position + index + 1
    raise AssertionError("unreachable")

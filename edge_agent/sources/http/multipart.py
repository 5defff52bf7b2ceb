"""Takes a stream of JPEG pictures apart: multipart/x-mixed-replace, as cameras send it ("MJPEG")."""

from __future__ import annotations

import re
from typing import Protocol

_BOUNDARY = re.compile(r"""boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;]{1,200}))""", re.IGNORECASE)
_LONGEST_LINE = 1024
_MOST_HEADERS = 32
_MOST_JUNK_BYTES = 1 << 16


class Body(Protocol):
    """What an HTTP response is to us."""

    def read(self, amount: int, /) -> bytes: ...
    def readline(self, limit: int, /) -> bytes: ...


class StreamError(Exception):
    """The stream ended, or is not one that can be taken apart; the message lacks its subject, the camera."""


def boundary_of(content_type: str) -> bytes | None:
    """Return what separates the parts, without dashes; None where the answer is no multipart stream.

    Raises StreamError for one that does not say what separates them.
    """
    if not content_type.strip().lower().startswith("multipart/"):
        return None
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2]).strip("-") if found else ""
    if not boundary:
        raise StreamError("does not say what separates its pictures (boundary)")
    return boundary.encode("latin-1", "replace")


class Parts:
    """The pictures of one stream, in order."""

    def __init__(self, body: Body, boundary: bytes) -> None:
        """`boundary` is without dashes: cameras disagree on whether those in front belong to it."""
        self._body = body
        self._boundary = boundary
        self._at_part = False

    def next(self, most_bytes: int) -> bytes:
        """Return the next picture. Raises StreamError at the end, or for one of more than `most_bytes`."""
        if not self._at_part:
            self._find_part()
        self._at_part = False
        length = self._length()
        if length is None:
            return self._until_boundary(most_bytes)
        if length > most_bytes:
            raise self._too_large(most_bytes)
        data = self._body.read(length)
        if len(data) < length:
            raise StreamError("ended in the middle of a picture")
        return data

    def _find_part(self) -> None:
        passed = 0
        while not self._is_boundary(line := self._line()):
            passed += len(line)
            if passed > _MOST_JUNK_BYTES:
                raise StreamError("does not separate its pictures as it says (boundary)")

    def _line(self) -> bytes:
        if not (line := self._body.readline(_LONGEST_LINE)):
            raise StreamError("ended")
        return line

    def _is_boundary(self, line: bytes) -> bool:
        return line.startswith((b"--", self._boundary)) and line.strip(b"-\r\n \t") == self._boundary

    def _length(self) -> int | None:
        """Read the headers of a part; return the size that they give, if they do."""
        length = None
        for _ in range(_MOST_HEADERS):
            line = self._line().strip()
            if not line:
                return length
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and re.fullmatch(rb"\s*[0-9]{1,18}", value):
                length = int(value)
        raise StreamError("has a picture with too many headers")

    def _until_boundary(self, most_bytes: int) -> bytes:
        data = bytearray()
        while not self._is_boundary(line := self._line()):
            data += line
            if len(data) > most_bytes:
                raise self._too_large(most_bytes)
        self._at_part = True
        return bytes(data).removesuffix(b"\n").removesuffix(b"\r")

    @staticmethod
    def _too_large(most_bytes: int) -> StreamError:
        return StreamError(
            f"has a picture of more than {most_bytes / (1 << 20):.1f} MB, which is what there is room for;"
            " choose a smaller resolution or quality in the camera"
        )

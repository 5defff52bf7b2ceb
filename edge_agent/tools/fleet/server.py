"""A small HTTP server for `fleet watch`: GET alone, one answer a connection, everything bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

_LONGEST_REQUEST = 8192
_LONGEST_PARAMETER = 200
_TIMEOUT_S = 10.0
_MOST = 64  # connections at a time

Answer = tuple[str, str]
"""Content type and text."""
Route = Callable[[Mapping[str, str]], Answer]
"""Takes the parameters behind the path."""


class Server:
    """Answers the paths of `routes`."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._slots = asyncio.Semaphore(_MOST)

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen. Raises OSError."""
        return await asyncio.start_server(self._serve, host, port, limit=_LONGEST_REQUEST)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._slots, asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].decode("ascii", "replace").split(" ")
        if len(words) != 3 or words[0] != "GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", "GET alone\n")
        try:
            url = urlsplit(words[1])
            query = parse_qs(url.query, max_num_fields=8)
        except ValueError:
            return _response(HTTPStatus.BAD_REQUEST, "text/plain", "no address\n")
        if (route := self._routes.get(url.path)) is None:
            return _response(HTTPStatus.NOT_FOUND, "text/plain", f"there are {', '.join(self._routes)}\n")
        asked = {name: values[0][:_LONGEST_PARAMETER] for name, values in query.items()}
        return _response(HTTPStatus.OK, *route(asked))


def _response(status: HTTPStatus, kind: str, text: str) -> bytes:
    body = text.encode("utf-8", "replace")
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; form-action 'self'\r\n\r\n"
    )
    return head.encode() + body

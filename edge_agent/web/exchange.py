"""A request and its answer, without the details of HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any, BinaryIO

from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import SCHEMA, dump
from edge_agent.system.text import plain_json

JSON = "application/json"
HTML = "text/html; charset=utf-8"
JPEG = "image/jpeg"
TEXT = "text/plain; charset=utf-8"

REASONS = {
    200: "OK",
    204: "No Content",
    303: "See Other",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}
"""The statuses that are answered with."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a request, before its body."""

    method: str
    path: str
    """Begins with `/`; decoded, and without the query."""
    query: str
    headers: Mapping[str, str]
    """By their names in lower case."""
    client: str
    """The address that the connection comes from."""

    def header(self, name: str) -> str:
        """The value of a header; empty where there is none."""
        return self.headers.get(name, "")


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose body is there."""

    head: Head
    body: BinaryIO
    length: int
    """Bytes of the body."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    body: bytes
    kind: str = JSON
    """The content type."""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = field(default=())


class RefusedError(Exception):
    """A request that is not done; `code` is for programs, the message for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_s: int = 0,
        headers: tuple[tuple[str, str], ...] = (),
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.headers = headers
        self.details = details

    def response(self) -> Response:
        """The answer, as JSON."""
        error = {"code": self.code, "message": str(self), **self.details}
        later = (("Retry-After", str(self.retry_after_s)),) if self.retry_after_s else ()
        return json_response({"error": error}, status=self.status, headers=(*self.headers, *later))


def json_response(
    value: Mapping[str, Any], *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """An answer of plain values, with the version of the payloads."""
    body = dump({"schema": SCHEMA} | {name: plain_json(item) for name, item in value.items()})
    return Response(body, JSON, status, headers)


def json_body(request: Request) -> dict[str, Any]:
    """The JSON object in the body of a request. Raises RefusedError."""
    kind = request.head.header("content-type").partition(";")[0].strip().lower()
    if kind != JSON:
        raise RefusedError(415, "content_type", f"send {JSON}")
    try:
        value = json.loads(request.body.read(request.length))
    except (ValueError, RecursionError):
        raise RefusedError(400, "malformed", "the body is no JSON") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "malformed", "the body must be an object")
    return value

"""The WSGI application: finds what a request asks for, and answers; nothing else leaves this room."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from edge_agent.errors import EdgeAgentError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.log import say_defect
from edge_agent.web.access import Access
from edge_agent.web.agent_view import BusyError
from edge_agent.web.exchange import HTML, REASONS, Head, RefusedError, Request, Response

_LOG = logging.getLogger(__name__)
_MOST_QUERY_FIELDS = 8
_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),  # with less, a browser hides where a form was sent from
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "geolocation=(), microphone=(), interest-cohort=()"),
)
_NOT_STORED = ("Cache-Control", "no-store")

Handler = Callable[[Request, Mapping[str, str]], Response]
"""Answers a request; the mapping is its query. Raises RefusedError, or EdgeAgentError."""


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a method at a path."""

    method: str
    path: str
    handle: Handler
    most_bytes: int = 0
    """The largest body that is taken."""


class Application:
    """Answers requests by its routes; a path is one of them, or there is nothing."""

    def __init__(
        self,
        routes: Iterable[Route],
        access: Access,
        *,
        room_bytes: Callable[[], int],
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """`room_bytes` returns how much memory bodies may take now."""
        self._routes: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route
        self._access = access
        self._room_bytes = room_bytes
        self._on_close = on_close

    def close(self) -> None:
        """Answer no more: whoever waits for something is sent away."""
        self._on_close()

    def admit(self, head: Head, length: int, waiting_bytes: int) -> None:
        """Let a body of `length` bytes come; `waiting_bytes` are all bodies, this one too.

        Raises RefusedError.
        """
        if not length:
            return  # it will be answered at once, by what follows
        route = self._find(head)
        if length > route.most_bytes:
            raise RefusedError(413, "too_large", f"at most {route.most_bytes} bytes are taken here")
        self._access.check(head)
        # It is read once more, into what its decoder works on.
        if 2 * waiting_bytes > self._room_bytes():
            raise RefusedError(503, "busy", "there is no memory for this just now", retry_after_s=2)

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        head = _head(environ)
        try:
            response = self._answer(head, environ)
        except RefusedError as refused:
            response = _refusal(head, refused)
        except BusyError as error:
            response = RefusedError(503, "busy", str(error), retry_after_s=2).response()
        except EdgeAgentError as error:
            response = RefusedError(503, "failed", str(error)).response()
        except Exception as error:
            say_defect(_LOG, "answering a request has failed unexpectedly", error)
            message = "it has failed unexpectedly: the agent's log says where; please report this"
            response = RefusedError(500, "defect", message).response()
        has_cache = any(name in ("Cache-Control", "ETag") for name, _ in response.headers)
        caching = () if has_cache else (_NOT_STORED,)
        content = (("Content-Type", response.kind), ("Content-Length", str(len(response.body))))
        has_body = response.status not in (204, 304)
        headers = [*(content if has_body else ()), *response.headers, *caching, *_HEADERS]
        start_response(f"{response.status} {REASONS[response.status]}", headers)
        return [response.body] if has_body and head.method != "HEAD" else []

    def _answer(self, head: Head, environ: Mapping[str, Any]) -> Response:
        self._access.check(head)
        route = self._find(head)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        return route.handle(Request(head, environ["wsgi.input"], length), _query(head))

    def _find(self, head: Head) -> Route:
        methods = self._routes.get(head.path)
        if methods is None:
            raise RefusedError(404, "not_found", "there is nothing at this path")
        method = "GET" if head.method == "HEAD" else head.method
        if method not in methods:
            allowed = ", ".join(sorted({*methods, *(("HEAD",) if "GET" in methods else ())}))
            raise RefusedError(405, "method", f"this path takes {allowed}", headers=(("Allow", allowed),))
        return methods[method]


def whole_number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A number from 0 to `most` of a query. Raises RefusedError."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > most:
        raise RefusedError(400, "malformed", f"{name} must be a whole number from 0 to {most}")
    return int(text)


def _query(head: Head) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(head.query, keep_blank_values=True, max_num_fields=_MOST_QUERY_FIELDS))
    except ValueError:
        raise RefusedError(400, "malformed", "the query has too many parts") from None


def _head(environ: Mapping[str, Any]) -> Head:
    headers = {
        name[5:].lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    return Head(
        environ["REQUEST_METHOD"],
        environ.get("PATH_INFO") or "/",
        environ.get("QUERY_STRING", ""),
        headers,
        environ.get("REMOTE_ADDR", ""),
    )


def _refusal(head: Head, refused: RefusedError) -> Response:
    """Send a person who has no token to where it is asked for; all others get JSON."""
    if refused.status == 401 and head.path == "/" and head.method == "GET":
        return Response(b"", HTML, 303, (("Location", "login"),))
    return refused.response()

"""waitress with narrower limits: who is slow, sends too much, or may not ask is cut off before it costs."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import BadRequest, Error

from edge_agent.config.address import ListenAddress, is_loopback
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.log import say_defect
from edge_agent.web.application import Application
from edge_agent.web.exchange import REASONS, Head, RefusedError, Response

_LOG = logging.getLogger(__name__)
_BUSY_WAIT_S, _QUIET_WAIT_S = 1.0, 60.0
_STOP_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may ask for, and how long it may take."""

    threads: int = 8
    connections: int = 64
    connections_each: int = 24
    """From one address, but not from this machine's own, where a proxy has many clients."""
    header_bytes: int = 16 * 1024
    request_s: float = 10.0
    """After so long a request is there, with a little more for a long body."""
    least_bytes_per_s: int = 20_000
    """That a body comes at."""
    answer_s: float = 30.0
    """After so long an answer has been taken."""
    idle_s: int = 60


class _RefusalError(Error):  # type: ignore[misc]
    """What waitress answers in place of the application."""

    def __init__(self, response: Response) -> None:
        super().__init__("")
        self._response = response
        self.code = response.status
        self.reason = REASONS[response.status]

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:  # noqa: ARG002
        headers = [("Content-Type", self._response.kind), *self._response.headers]
        return f"{self.code} {self.reason}", headers, self._response.body


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Asks whether a request may go on once its header is there, before its body is taken."""

    def __init__(self, adjustments: Adjustments, limits: Limits, admit: Callable[[_Parser], None]) -> None:
        super().__init__(adjustments)
        self._limits = limits
        self._admit = admit
        self.begun_s = time.monotonic()

    def received(self, data: bytes) -> int:
        had_header = self.headers_finished
        try:
            consumed: int = super().received(data)
        except ValueError:  # a length of thousands of digits
            self.error, self.completed = BadRequest("this is no request"), True
            return len(data)
        if self.headers_finished and not had_header and not self.empty and self.error is None:
            try:
                self._admit(self)
            except RefusedError as refused:
                self.error = _RefusalError(refused.response())
                self.expect_continue = False
                self.completed = True
        return consumed

    @property
    def is_late(self) -> bool:
        """Whether it should be there by now."""
        limits = self._limits
        allowed_s = limits.request_s + self.content_length / limits.least_bytes_per_s
        return bool(time.monotonic() - self.begun_s > allowed_s)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    answering_since_s: float | None = None

    def parser_class(self, adjustments: Adjustments) -> _Parser:
        """Make the parser of the next request."""
        return _Parser(adjustments, self.server.limits, self._admit)

    def _admit(self, parser: _Parser) -> None:
        self.server.application.admit(
            head_of(parser, self.addr[0]), parser.content_length, self.server.body_bytes()
        )
        if parser.chunked:
            raise RefusedError(411, "length_required", "say how long the body is: chunks are not taken")

    def useless_s(self) -> float:
        """How long it has asked for nothing; negative while a request of it is worked on."""
        request: _Parser | None = self.request
        if self.requests or self.total_outbufs_len:
            return -1.0
        if request is not None:
            return float(time.monotonic() - request.begun_s)
        return max(0.0, time.time() - float(self.last_activity))

    def is_slow(self, now_s: float) -> bool:
        """Whether its client sends or takes too slowly."""
        if not self.total_outbufs_len:
            self.answering_since_s = None
        elif self.answering_since_s is None:
            self.answering_since_s = now_s
        is_not_taking = (
            self.answering_since_s is not None
            and now_s - self.answering_since_s > self.server.limits.answer_s
        )
        request: _Parser | None = self.request
        return is_not_taking or (request is not None and request.is_late)


class _Server(TcpWSGIServer):  # type: ignore[misc]
    """Accepts connections, so many and a few from each address, and closes those that are slow."""

    channel_class = _Channel

    def __init__(self, limits: Limits, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.limits = limits

    def pull_trigger(self) -> None:
        with suppress(OSError):  # it may be closed already
            super().pull_trigger()

    def handle_accept(self) -> None:
        known = set(self.active_channels)
        super().handle_accept()
        for number in set(self.active_channels) - known:
            self._make_room_for(self.active_channels[number])

    def _make_room_for(self, channel: _Channel) -> None:
        """Close the connection that has been of no use for the longest, where there are too many."""
        client, everybody = channel.addr[0], tuple(self.active_channels.values())
        same = [other for other in everybody if other.addr[0] == client]
        # A proxy on this machine has many clients.
        if len(same) > self.limits.connections_each and not is_loopback(client):
            max(same, key=_Channel.useless_s).handle_close()
        elif len(everybody) > self.limits.connections:
            max(everybody, key=_Channel.useless_s).handle_close()

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        now_s = time.monotonic()
        for channel in tuple(self.active_channels.values()):
            if channel.is_slow(now_s):
                channel.handle_close()

    def body_bytes(self) -> int:
        """The bodies that are in memory, or announced."""
        requests = (
            request
            for channel in self.active_channels.values()
            for request in (*channel.requests, channel.request)
            if request is not None and request.error is None
        )
        return sum(request.content_length for request in requests)


class PageServer:
    """Serves the application on threads of its own, until it is closed."""

    def __init__(
        self, address: ListenAddress, application: Application, limits: Limits | None = None
    ) -> None:
        """Listens at once. Raises OSError where it cannot."""
        logging.getLogger("waitress").setLevel(logging.ERROR)  # how busy it is, is nobody's business
        self._limits = limits = limits or Limits()
        self._map: dict[int, Any] = {}
        self._application = application
        self._is_ending = False
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address.host, address.port))
        except OSError:
            listening.close()
            raise
        self._dispatcher = ThreadedTaskDispatcher()
        self._server = _Server(
            limits,
            application,
            self._map,
            _sock=listening,
            dispatcher=self._dispatcher,
            adj=_adjustments(listening, limits),
            sockinfo=(family, socket.SOCK_STREAM, 0, listening.getsockname()),
            bind_socket=False,
        )
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._dispatcher.set_thread_count(self._limits.threads)
        self._thread.start()

    def close(self) -> None:
        """Close every connection and end the threads; takes half a second at the most."""
        self._is_ending = True
        self._application.close()
        self._server.pull_trigger()
        if self._thread.ident is None:
            self._close_connections()
        else:
            self._thread.join(_STOP_S)
        self._dispatcher.set_thread_count(0)  # not waited for: they are daemon threads

    def _run(self) -> None:
        try:
            while not self._is_ending:
                has_clients = bool(self._server.active_channels)
                wait_s = _BUSY_WAIT_S if has_clients else _QUIET_WAIT_S
                wasyncore.loop(timeout=wait_s, use_poll=True, map=self._map, count=1)
        except Exception as error:
            say_defect(_LOG, "the page has ended unexpectedly; the agent goes on", error)
        finally:
            self._close_connections()

    def _close_connections(self) -> None:
        wasyncore.close_all(self._map, ignore_all=True)


def head_of(parser: HTTPRequestParser, client: str) -> Head:
    """The head of a request as waitress has parsed it."""
    headers = {name.lower().replace("_", "-"): value for name, value in parser.headers.items()}
    path = "/" + parser.path.lstrip("/")
    return Head(parser.command, path, parser.query, headers, client)


def _adjustments(listening: socket.socket, limits: Limits) -> Adjustments:
    return Adjustments(
        sockets=[listening],
        connection_limit=1 << 16,  # `_make_room_for` says less
        backlog=128,
        cleanup_interval=1,
        channel_timeout=limits.idle_s,
        log_socket_errors=False,
        max_request_header_size=limits.header_bytes,
        max_request_body_size=1 << 30,  # the application says less, for each path
        inbuf_overflow=1 << 30,  # no body goes to a file
        outbuf_overflow=1 << 30,
        ident=None,
        clear_untrusted_proxy_headers=False,  # nothing of them is believed
    )

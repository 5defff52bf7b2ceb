"""paho's client, held to two limits: one deadline for all of connecting, and a size that a packet may have.

paho gives each step of connecting a timeout of its own, and a websocket's handshake one for each byte; and it
makes room for whatever length a packet announces. Both would be in the hands of whoever answers.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.system.lookup import Lookup
from edge_agent.system.text import printable

MAX_PACKET_BYTES = 256 * 1024
"""The largest packet that is received; a request has at most 4 kB."""

_TCP_TIMEOUT_S = 5.0
_HANDSHAKE_BYTES = 16 * 1024
_HTTP_STATUS = re.compile(rb"HTTP/[\d.]{1,3} (?!101)(\d{3}[^\r\n]{0,80})")


class GuardedSocket:
    """A socket as paho uses it; until `setblocking`, that is while connecting, each call ends in time."""

    def __init__(self, wrapped: socket.socket, left_s: Callable[[], float]) -> None:
        """`left_s` returns the seconds left for connecting; raises TimeoutError when there are none."""
        self.wrapped = wrapped
        self.handshake = b""
        """What was received while connecting."""
        self.got_too_much = False
        self._left_s = left_s
        self._is_connecting = True

    def recv(self, size: int) -> bytes:
        if self._is_connecting:
            self.wrapped.settimeout(self._left_s())
        is_too_much = size > MAX_PACKET_BYTES or len(self.handshake) > _HANDSHAKE_BYTES
        if is_too_much:
            self.refuse()
        received = self.wrapped.recv(size)
        if self._is_connecting:
            self.handshake += received
        return received

    def refuse(self) -> NoReturn:
        """Give up this connection. Raises ConnectionError."""
        self.got_too_much = True
        raise ConnectionError("the other side sends more than it may")

    def send(self, data: bytes) -> int:
        if self._is_connecting:
            self.wrapped.settimeout(self._left_s())
        return self.wrapped.send(data)

    def settimeout(self, timeout_s: float) -> None:
        """The deadline stands above what paho thinks."""

    def setblocking(self, flag: bool) -> None:
        self._is_connecting = False
        self.wrapped.setblocking(flag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)


class GuardedClient(Client):
    """A client that connects with `connect_in_time`."""

    is_reached = False
    """Whether the other side has accepted the TCP connection."""
    _guarded: GuardedSocket | None = None
    _lookup: Lookup
    _left_s: Callable[[], float] = staticmethod(lambda: _TCP_TIMEOUT_S)

    @property
    def got_too_much(self) -> bool:
        """Whether the other side sent more than it may: the connection has ended."""
        return self._guarded is not None and self._guarded.got_too_much

    @property
    def http_status(self) -> str:
        """What a web server has answered to a websocket's handshake, `404 Not Found`; else empty."""
        found = _HTTP_STATUS.match(self._guarded.handshake) if self._guarded else None
        return printable(found[1].decode("utf-8", "backslashreplace").strip()) if found else ""

    def connect_in_time(
        self, host: str, port: int, keepalive_s: int, left_s: Callable[[], float], lookup: Lookup
    ) -> None:
        """Look the host up, connect and send the greeting; `left_s` as above.

        Raises OSError or ValueError.
        """
        self._left_s = left_s
        self._lookup = lookup
        properties = None
        if self.protocol == 5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = MAX_PACKET_BYTES
        self.connect(host, port, keepalive_s, properties=properties)

    def _create_socket_connection(self) -> Any:
        if self._get_proxy():
            return super()._create_socket_connection()
        return self._guard(self._reach())

    def _reach(self) -> socket.socket:
        """Try each address of the host."""
        failure: OSError | None = None
        found = self._lookup.addresses(self.host, self.port, self._left_s)
        for family, kind, protocol, _, address in found:
            reaching = socket.socket(family, kind, protocol)
            try:
                reaching.settimeout(min(self._left_s(), _TCP_TIMEOUT_S))
                reaching.connect(address)
            except OSError as error:
                reaching.close()
                failure = failure or error
            else:
                self.is_reached = True
                return reaching
        raise failure or OSError("it has no address")

    def _ssl_wrap_socket(self, tcp_sock: Any) -> Any:
        context = self._ssl_context
        assert context is not None
        raw = tcp_sock.wrapped if isinstance(tcp_sock, GuardedSocket) else tcp_sock
        encrypted = context.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
        try:
            encrypted.settimeout(self._left_s())
            encrypted.do_handshake()
        except BaseException:
            encrypted.close()
            raise
        return self._guard(encrypted)

    def _guard(self, opened: socket.socket) -> GuardedSocket:
        self._guarded = GuardedSocket(opened, self._left_s)
        return self._guarded

    def _sock_recv(self, bufsize: int) -> bytes:
        frame = getattr(self._sock, "_readbuffer", b"")  # of a websocket, whose frame can hold many packets
        if self._guarded is not None and max(bufsize, len(frame)) > MAX_PACKET_BYTES:
            self._guarded.refuse()
        return super()._sock_recv(bufsize)

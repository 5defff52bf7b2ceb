"""Asks an RTSP server for its stream before FFmpeg does, which does not say why a server refuses."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO

from edge_agent.config.address import NetworkAddress
from edge_agent.errors import SourceError
from edge_agent.lean_dataclass import dataclass
from edge_agent.sources.deadline import Deadline, Incoming, connect
from edge_agent.sources.login import Credentials, Login, LoginRefusedError
from edge_agent.system.lean_imports import import_ssl
from edge_agent.system.lookup import Lookup
from edge_agent.system.text import printable

_LONGEST_LINE = 8192
_MOST_HEADERS = 100
_LONGEST_BODY = 1 << 16


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    """0 for an answer that is not RTSP."""
    challenges: tuple[str, ...]


def require_stream(
    address: NetworkAddress,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    lookup: Lookup | None = None,
) -> None:
    """Raise SourceError for a server that cannot be reached, does not answer, or refuses the stream.

    Whatever else it answers is left to FFmpeg, and so is one with which TLS (rtsps) cannot be agreed on.
    """
    server = f"the RTSP server at {address.server}"
    deadline = Deadline(timeout_s, clock)
    try:
        connection = connect(address.host, address.port, deadline, lookup or Lookup())
    except OSError as error:
        reason = printable(error.strerror or str(error) or "it does not answer")
        raise SourceError(
            f"cannot reach {server}: {reason}; check the network, the camera and source.rtsp.url"
        ) from error
    try:
        with connection if address.scheme == "rtsp" else _encrypted(connection, deadline) as stream:
            status = _describe(stream, address, deadline)
    except TimeoutError as error:
        raise SourceError(
            f"{server} does not give the stream: it accepts the connection, and gives no answer within"
            f" {timeout_s:g} s; restart the camera"
        ) from error
    except OSError:
        return
    _refuse(status, server, has_credentials=Credentials.from_address(address) is not None)


def _encrypted(connection: socket.socket, deadline: Deadline) -> socket.socket:
    """Agree on TLS as FFmpeg does, which checks no certificate of an RTSP server and cannot be made to.

    So nothing is given away here that would not be a moment later. Raises OSError, and closes `connection`.
    """
    with ExitStack() as opened:
        opened.callback(connection.close)
        ssl = import_ssl()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection.settimeout(deadline.left_s())
        encrypted: socket.socket = context.wrap_socket(connection)
        opened.pop_all()
    return encrypted


def _describe(connection: socket.socket, address: NetworkAddress, deadline: Deadline) -> int:
    """Return the status of the answer, after the login that the server may ask for."""
    login = Login(Credentials.from_address(address))
    incoming = io.BufferedReader(Incoming(connection, deadline.left_s))
    uri = f"rtsp://{address.server}{address.target}".encode().decode("latin-1")
    for number in range(1, 4):
        lines = [f"DESCRIBE {uri} RTSP/1.0", f"CSeq: {number}", "Accept: application/sdp"]
        if (authorization := login.answer("DESCRIBE", uri)) is not None:
            lines.append(f"Authorization: {authorization}")
        connection.settimeout(deadline.left_s())
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        reply = _reply(incoming)
        if reply.status != 401 or not login.challenged(reply.challenges):
            break
    return reply.status


def _reply(incoming: BinaryIO) -> _Reply:
    first = incoming.readline(_LONGEST_LINE).decode("latin-1").split(maxsplit=2)
    if len(first) < 2 or not first[0].startswith("RTSP/") or not first[1].isdecimal():
        return _Reply(0, ())
    challenges, length = [], 0
    for _ in range(_MOST_HEADERS):
        line = incoming.readline(_LONGEST_LINE).decode("latin-1").strip()
        if not line:
            break
        name, _, value = line.partition(":")
        if name.lower() == "www-authenticate":
            challenges.append(value.strip())
        if name.lower() == "content-length" and value.strip().isdecimal():
            length = int(value)
    incoming.read(min(length, _LONGEST_BODY))
    return _Reply(int(first[1]), tuple(challenges))


def _refuse(status: int, server: str, *, has_credentials: bool) -> None:
    if status == 401 and not has_credentials:
        raise LoginRefusedError(
            f"{server} asks for a user and a password (401); write rtsp://user:password@... in"
            " source.rtsp.url"
        )
    if status in (401, 403):
        raise LoginRefusedError(
            f"{server} refuses the user or the password ({status}); check both in source.rtsp.url"
        )
    if status == 404:
        raise SourceError(
            f"{server} does not give the stream: it has nothing at this path (404); check the path in"
            " source.rtsp.url"
        )

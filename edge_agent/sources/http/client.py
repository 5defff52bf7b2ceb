"""An HTTP client for cameras: every wait has a deadline, every size a limit, every redirect a reason."""

from __future__ import annotations

import http.client
import io
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urldefrag, urljoin, urlsplit

from edge_agent.config.address import HTTP_PORTS, NetworkAddress, http_address
from edge_agent.errors import ConfigError, SourceError
from edge_agent.sources.deadline import Deadline, Incoming, connect
from edge_agent.sources.login import Credentials, Login, LoginRefusedError
from edge_agent.system.lookup import Lookup
from edge_agent.system.text import printable
from edge_agent.system.tls import client_context

if TYPE_CHECKING:
    import ssl

MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_LONGEST_REASON = 60
_AS_IT_IS = "%/?:@!$&'()*+,;=[]|"
_MOST_DISCARDED = 1 << 16


def _may_be_trusted(there: NetworkAddress, origin: NetworkAddress) -> bool:
    """Whether the login of `origin` may be sent there: to the same server, or to its encrypted door."""
    is_encrypted_door = (origin.scheme, there.scheme) == ("http", "https")
    return there.host == origin.host and (there.port == origin.port or is_encrypted_door)


class Client:
    """Gets pictures from one address, over a connection that is kept where the server keeps it."""

    def __init__(self, url: str, ca_file: Path | None = None, lookup: Lookup | None = None) -> None:
        """`ca_file`: the authority for https; None for the system's own list. `lookup` finds addresses; None
        asks the system. Raises ConfigError."""
        self.place = http_address(url)
        self.deadline = Deadline(0)
        """For whatever is sent or read from now on."""
        self.ca_file = ca_file
        self.lookup = lookup or Lookup()
        self._login = Login(Credentials.from_address(self.place))
        self._connection: _Connection | None = None

    def get(self) -> http.client.HTTPResponse:
        """Return the answer, following redirects, with its body still to be read.

        Raises SourceError for an answer without a picture, OSError and HTTPException for none.
        """
        place, login = self.place, self._login
        for _ in range(MOST_REDIRECTS + 1):
            response = self._ask(place, login)
            if response.status not in _REDIRECTS:
                return self._accepted(response, place)
            there = self._redirected(response, place)
            self._discard(response)
            if not _may_be_trusted(there, place):
                login = Login(None)
            place = there
        raise SourceError(
            f"the camera at {self.place.server} sends from one address to the next, more than"
            f" {MOST_REDIRECTS} times; write the last one into source.http.url"
        )

    def left_s(self) -> float:
        """Return the seconds that are left. Raises TimeoutError where there are none."""
        return self.deadline.left_s()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.hang_up()
            self._connection = None

    def _ask(self, place: NetworkAddress, login: Login) -> http.client.HTTPResponse:
        """Ask once, and once more with the login that the server asks for."""
        response = self._request(place, login)
        while response.status == 401 and login.challenged(response.headers.get_all("WWW-Authenticate", [])):
            self._discard(response)
            response = self._request(place, login)
        return response

    def _discard(self, response: http.client.HTTPResponse) -> None:
        """Read what is left of an answer, so that the connection can be kept; close it where that is much."""
        response.read(_MOST_DISCARDED)
        if not response.isclosed():
            self.close()

    def _request(self, place: NetworkAddress, login: Login) -> http.client.HTTPResponse:
        """Ask over the connection that is open, or over a new one where the server has closed that."""
        is_kept = self._connection is not None and self._connection.serves(place)
        try:
            return self._send(place, login)
        except (http.client.BadStatusLine, ConnectionError):
            if not is_kept:
                raise
            self.close()
        return self._send(place, login)

    def _send(self, place: NetworkAddress, login: Login) -> http.client.HTTPResponse:
        if self._connection is None or not self._connection.serves(place):
            self.close()
            self._connection = _Connection(place, self)
        target = quote(place.target, safe=_AS_IT_IS)
        headers = {"Accept": "multipart/x-mixed-replace, image/jpeg, image/*", "User-Agent": "edge-agent"}
        if (authorization := login.answer("GET", target)) is not None:
            headers["Authorization"] = authorization
        self._connection.request("GET", target, headers=headers)
        return self._connection.getresponse()

    def _redirected(self, response: http.client.HTTPResponse, place: NetworkAddress) -> NetworkAddress:
        location = response.headers.get("Location", "")
        here = f"{place.scheme}://{place.server}{urlsplit(place.target).path}"
        try:
            there = http_address(urldefrag(urljoin(here, location)).url)
        except (ConfigError, ValueError):
            raise SourceError(
                f"the camera at {place.server} sends elsewhere, but to no HTTP address; check source.http.url"
            ) from None
        if (place.scheme, there.scheme) == ("https", "http"):
            raise SourceError(
                f"the camera at {place.server} sends from https to http, where nothing is encrypted;"
                " check source.http.url"
            )
        return there

    def _accepted(
        self, response: http.client.HTTPResponse, place: NetworkAddress
    ) -> http.client.HTTPResponse:
        status = response.status
        if status == 200:
            return response
        server = f"the camera at {place.server}"
        if status == 401 and not self._login.has_credentials:
            raise LoginRefusedError(
                f"{server} asks for a user and a password (401);"
                " write http://user:password@... in source.http.url"
            )
        if status in (401, 403):
            raise LoginRefusedError(
                f"{server} refuses the user or the password ({status}); check both in source.http.url"
            )
        if status == 404:
            raise SourceError(f"{server} has nothing at this path (404); check the path in source.http.url")
        reason = printable(response.reason, _LONGEST_REASON)
        raise SourceError(f"{server} answers {status} ({reason}) instead of a picture")


class _Connection(http.client.HTTPConnection):
    """A connection whose every wait ends with the client's deadline, however slowly the server sends."""

    def __init__(self, place: NetworkAddress, client: Client) -> None:
        self.default_port = HTTP_PORTS[place.scheme]
        super().__init__(place.host, place.port)
        self._client = client
        self._scheme = place.scheme
        self._wire: socket.socket | None = None
        self._context = _tls_context(client.ca_file) if place.scheme == "https" else None

    def serves(self, place: NetworkAddress) -> bool:
        return (self._scheme, self.host, self.port) == (place.scheme, place.host, place.port)

    def connect(self) -> None:
        self._close_wire()
        self._wire = connect(self.host, self.port, self._client.deadline, self._client.lookup)
        if self._context is not None:
            self._wire.settimeout(self._client.left_s())
            self._wire = self._context.wrap_socket(self._wire, server_hostname=self.host)
        self.sock = _DeadlineSocket(self._wire, self._client)

    def hang_up(self) -> None:
        """Close the connection, also where an answer is still being read, which `close` leaves alone."""
        self.close()
        self._close_wire()

    def _close_wire(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None


class _DeadlineSocket:
    """What http.client uses of a socket. It closes one when it has read the head of a last answer."""

    def __init__(self, wrapped: socket.socket, client: Client) -> None:
        self._socket = wrapped
        self._client = client

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._client.left_s())
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(Incoming(self._socket, self._client.left_s))

    def close(self) -> None:
        pass


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return client_context(ca_file)
    except (ImportError, OSError) as error:
        raise SourceError(f"https cannot be used: {error}; check source.http.ca_file") from error

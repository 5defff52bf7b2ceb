"""Network addresses: the one reader of hosts and URLs, for the check of the file and for the sources."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from urllib.parse import unquote

from edge_agent.errors import ConfigError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.secret import Secret

RTSP_PORTS = {"rtsp": 554, "rtsps": 322}
HTTP_PORTS = {"http": 80, "https": 443}

_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[^]]*)]|(?P<name>[^:[\]]*))(?::(?P<port>[0-9]{1,5}))?")
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_CONTROL_ESCAPE = re.compile("%([01][0-9A-Fa-f]|7[Ff])")
_ESCAPES = "in a user name or password, write %23 for #, %2F for /, %3F for ?, %40 for @ and %25 for %"
_LONGEST_HOST = 253
_LONGEST_LABEL = 63
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK")  # whose letters look alike


class AddressError(ConfigError):
    """The URL in a setting is no address. It is never quoted: it may hold a password."""

    def __init__(self, setting: str, kind: str, problem: str, hint: str) -> None:
        super().__init__(f"{setting} is no {kind} address: it {problem} ({hint})")
        self.problem = problem
        self.hint = hint


class _UnusableError(Exception):
    """A URL cannot be used; its arguments are the problem and the hint."""


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """A URL in its parts."""

    scheme: str
    """In lower case."""
    host: str
    """An IPv6 address without brackets."""
    port: int
    user: str
    password: Secret
    """Both decoded; empty for none."""
    target: Secret
    """Path and query as they are written, beginning with `/`; they may hold a password too."""

    @property
    def server(self) -> str:
        """Host and port, for people and as a URL has them."""
        return host_with_port(self.host, self.port)


def network_address(url: str, ports: Mapping[str, int], setting: str) -> NetworkAddress:
    """Take the URL in `setting` apart; `ports` has its possible schemes, each with its default port.

    A URL that could be read in two ways is refused: with a `#` or an `@` that is not escaped, a part of the
    password could pass for the host. Raises AddressError.
    """
    try:
        return _taken_apart(url, ports)
    except _UnusableError as error:
        problem, hint = error.args
    # Outside the handler: no exception that knows a part of the URL stays attached to this one.
    raise AddressError(setting, next(iter(ports)).upper(), problem, hint)


def host_with_port(host: str, port: int) -> str:
    """Write both as a URL has them, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def rtsp_address(url: str) -> NetworkAddress:
    """Take `source.rtsp.url` apart. Raises AddressError."""
    return network_address(url, RTSP_PORTS, "source.rtsp.url")


def http_address(url: str) -> NetworkAddress:
    """Take `source.http.url` apart. Raises AddressError."""
    return network_address(url, HTTP_PORTS, "source.http.url")


def broker_place(text: str) -> tuple[str, int]:
    """Take a member of `mqtt.hosts` apart: `broker`, `broker:1884`, `[::1]:1884` or `::1`.

    The port is 0 where none is written. Raises ValueError with what is wrong; the text is not quoted.
    """
    if text.count(":") > 1 and "[" not in text:
        host, port = text, 0
    else:
        found = _HOST_AND_PORT.fullmatch(text)
        if found is None or not 0 < int(found["port"] or 1) < 65536:
            raise ValueError("has something other than a port number behind a host")
        host, port = found["ipv6"] or found["name"], int(found["port"] or 0)
        if found["ipv6"] is not None and ":" not in host:
            raise ValueError("has no valid IPv6 address")
    if problem := host_problem(host):
        raise ValueError(problem)
    return host, port


def host_problem(host: str) -> str:
    """Why `host` is no name or address that could be looked up; empty where it is one. It is not quoted."""
    if not host:
        return "names no host"
    if ":" in host:
        return "" if _is_address(socket.AF_INET6, host.partition("%")[0]) else "has no valid IPv6 address"
    if len(host) > _LONGEST_HOST:
        return f"has a host name of more than {_LONGEST_HOST} characters"
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        return "" if _is_address(socket.AF_INET, host) else "has no valid IPv4 address"
    if any(not 0 < len(label) <= _LONGEST_LABEL for label in labels):
        return f"has a host name with a part that is empty or longer than {_LONGEST_LABEL} characters"
    if not all(char.isalnum() or char in "-_." for char in host):
        return "has a host name with a character other than letters, digits, '-', '_' and '.'"
    return "" if host.isascii() else _international_problem(host, labels)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server of this process waits for connections."""

    host: str
    """An address; one of IPv6 without brackets."""
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return host_with_port(self.host, self.port)


def listen_address(text: str, setting: str = "web.listen") -> ListenAddress:
    """Take `127.0.0.1:8384` or `[::1]:8384` apart. Raises AddressError."""
    found = _HOST_AND_PORT.fullmatch(text)
    host = (found["ipv6"] or found["name"]) if found else ""
    if found is None or not is_address(host):
        raise AddressError(setting, "listening", "names no address", "write 127.0.0.1:8384 or [::1]:8384")
    if not 0 < (port := int(found["port"] or 0)) < 65536:
        raise AddressError(setting, "listening", "has no port from 1 to 65535", "for instance 127.0.0.1:8384")
    return ListenAddress(host, port)


def is_address(host: str) -> bool:
    """Whether `host` is an address of IPv4, or of IPv6 without brackets, and no name."""
    return _is_address(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


def is_loopback(address: str) -> bool:
    """Whether an address leads to this machine itself."""
    if ":" not in address:
        return _is_address(socket.AF_INET, address) and address.startswith("127.")
    packed = socket.inet_pton(socket.AF_INET6, address) if is_address(address) else b""
    mapped = bytes(10) + b"\xff\xff\x7f"  # ::ffff:127.0.0.0/104
    return packed == bytes(15) + b"\1" or packed.startswith(mapped)


def _international_problem(host: str, labels: list[str]) -> str:
    import unicodedata  # only where there is such a host

    if unicodedata.normalize("NFKC", host) != host:
        return "has a host name with letters that only look like others, for instance full-width ones"
    for label in labels:
        names = [unicodedata.name(char, "") for char in label if char.isalpha()]
        if len({script for script in _SCRIPTS for name in names if name.startswith(script)}) > 1:
            return "has a host name that mixes alphabets whose letters look alike"
    try:
        host.encode("idna")
    except UnicodeError:
        return "has a host name that cannot be looked up"
    return ""


def _taken_apart(url: str, ports: Mapping[str, int]) -> NetworkAddress:
    scheme, separator, rest = url.partition("://")
    example = f"{next(iter(ports))}://user:password@host/path"
    default_port = ports.get(scheme.lower()) if separator else None
    if default_port is None:
        raise _UnusableError(f"must begin with {' or '.join(f'{name}://' for name in ports)}", example)
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    behind = rest[len(authority) :]
    _refuse_ambiguous(rest, authority, behind)
    credentials, _, place = authority.rpartition("@")
    _refuse_bad_escapes(credentials)
    user, _, password = credentials.partition(":")
    host, port = _host_and_port(place, default_port, example)
    target = behind if behind.startswith("/") else f"/{behind}"
    return NetworkAddress(
        scheme.lower(), host, port, unquote(user), Secret(unquote(password)), Secret(target)
    )


def _refuse_ambiguous(rest: str, authority: str, behind: str) -> None:
    """Refuse what another reader of addresses would read differently."""
    if "#" in rest:
        raise _UnusableError("holds a #", _ESCAPES)
    if "@" in behind:
        raise _UnusableError("holds an @ behind a / or a ?", _ESCAPES)
    if any(not char.isprintable() or char.isspace() for char in rest):
        raise _UnusableError("holds a space or an invisible character", "write %20 for a space")
    if "\\" in authority:
        raise _UnusableError("holds a \\", "in a user name or password, write %5C for \\")


def _refuse_bad_escapes(credentials: str) -> None:
    if "[" in credentials or "]" in credentials:
        raise _UnusableError(
            "holds a bracket before the host", "in a user name or password, write %5B for [ and %5D for ]"
        )
    if _BAD_ESCAPE.search(credentials):
        raise _UnusableError("holds a % that begins no escape", _ESCAPES)
    if _CONTROL_ESCAPE.search(credentials):
        raise _UnusableError("holds the escape of a control character", "leave it out")
    if "\ufffd" in unquote(credentials):
        raise _UnusableError("holds an escape that is not UTF-8", "write each byte of UTF-8 as %XX")


def _host_and_port(place: str, default_port: int, example: str) -> tuple[str, int]:
    found = _HOST_AND_PORT.fullmatch(place)
    if found is None and place.count(":") > 1 and "[" not in place and "]" not in place:
        raise _UnusableError(
            "has something other than a port number behind its host",
            "an IPv6 address needs brackets; in a user name or password, write %40 for @ and %3A for :",
        )
    if found is None or not 0 < (port := int(found["port"] or default_port)) < 65536:
        hint = "in a user name or password, write %2F for /, %40 for @ and %3A for :"
        raise _UnusableError("has something other than a port number behind its host", hint)
    if found["ipv6"] is not None and ":" not in found["ipv6"]:
        raise _UnusableError("names no host" if not found["ipv6"] else "has no valid IPv6 address", example)
    host = found["ipv6"] or found["name"]
    if problem := host_problem(host):
        raise _UnusableError(problem, example)
    return host, port


def _is_address(family: socket.AddressFamily, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True

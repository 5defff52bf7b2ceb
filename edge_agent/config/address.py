"""The host and port in the URL of a network camera."""

from __future__ import annotations

import re

from edge_agent.errors import ConfigError

_DEFAULT_PORTS = {"rtsp://": 554, "rtsps://": 322}
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[^]]*)]|(?P<name>[^:[\]]*))(?::(?P<port>[0-9]{1,5}))?")


class RtspUrlError(ConfigError):
    """`source.rtsp.url` is no RTSP address. The URL is never quoted: it may hold a password."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(f"source.rtsp.url is no RTSP address: it {problem} ({hint})")
        self.problem = problem
        self.hint = hint


def rtsp_address(url: str) -> tuple[str, int]:
    """Return the host (an IPv6 address without brackets) and the port. Raises RtspUrlError."""
    scheme, separator, rest = url.partition("://")
    default_port = _DEFAULT_PORTS.get(scheme.lower() + separator)
    if default_port is None:
        raise RtspUrlError("must begin with rtsp:// or rtsps://", "rtsp://host:554/path")
    authority = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    found = _HOST_AND_PORT.fullmatch(authority)
    if found is None or not 0 < (port := int(found["port"] or default_port)) < 65536:
        hint = "in a user name or password, write %2F for /, %40 for @ and %3A for :"
        raise RtspUrlError("has something other than a port number behind its host", hint)
    host = found["ipv6"] or found["name"]
    if not host:
        raise RtspUrlError("names no host", "rtsp://host:554/path")
    return host, port

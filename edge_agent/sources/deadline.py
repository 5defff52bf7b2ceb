"""Connections to cameras whose every wait has an end, however slowly the other side sends."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from typing import Any

from edge_agent.system.lookup import Lookup


class Deadline:
    """When something that is under way has taken too long."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end_s = clock() + seconds

    def left_s(self) -> float:
        """Return the seconds that are left. Raises TimeoutError where there are none."""
        if (left_s := self._end_s - self._clock()) <= 0:
            raise TimeoutError
        return left_s


class Incoming(io.RawIOBase):
    """What arrives at a socket, each piece awaited no longer than `left_s` returns, or raises."""

    def __init__(self, connection: socket.socket, left_s: Callable[[], float]) -> None:
        self._connection = connection
        self._left_s = left_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._left_s())
        return self._connection.recv_into(buffer)


def connect(host: str, port: int, deadline: Deadline, lookup: Lookup) -> socket.socket:
    """Connect to the first of the host's addresses that answers. Raises OSError."""
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in lookup.addresses(host, port, deadline.left_s):
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.settimeout(deadline.left_s())
            connecting.connect(address)
        except OSError as error:
            connecting.close()
            failure = error
        else:
            return connecting
    raise failure

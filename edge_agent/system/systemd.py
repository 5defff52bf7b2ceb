"""The agent as a systemd service: readiness, status and watchdog, without a library."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

from edge_agent.system.text import printable

_SEND_TIMEOUT_S = 1.0  # the manager's queue can be full for a moment; the agent must not wait on it for long


def _monotonic_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


class Notifier:
    """Speaks the protocol of sd_notify(3) with the service manager.

    Without a manager (`address` empty, or of a kind other than a Unix socket) every message is dropped. A
    message that cannot be sent is dropped too: losing the manager is no reason to stop classifying.
    """

    def __init__(self, address: str, clock_us: Callable[[], int] = _monotonic_us) -> None:
        self._address = self._socket_address(address)
        self._clock_us = clock_us
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(_SEND_TIMEOUT_S)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return a notifier for $NOTIFY_SOCKET, which systemd sets for a service of Type=notify."""
        return cls(environment.get("NOTIFY_SOCKET", ""))

    @staticmethod
    def _socket_address(address: str) -> str:
        if address.startswith("@"):
            return "\0" + address[1:]
        return address if address.startswith("/") else ""

    def ready(self, status: str = "") -> None:
        """Start-up, or a reload that `reloading` announced, is complete."""
        self._send(["READY=1", *self._status_line(status)])

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(self._status_line(text))

    def watchdog(self) -> None:
        """Put off the watchdog by another WatchdogSec=."""
        self._send(["WATCHDOG=1"])

    def reloading(self, status: str = "") -> None:
        """The configuration is being read again; `ready` must follow, whatever comes of it."""
        self._send(["RELOADING=1", f"MONOTONIC_USEC={self._clock_us()}", *self._status_line(status)])

    def stopping(self, status: str = "") -> None:
        """Shutdown has begun."""
        self._send(["STOPPING=1", *self._status_line(status)])

    def extend_timeout(self, seconds: float) -> None:
        """Allow start-up or shutdown this many seconds from now; repeat it for as long as it takes."""
        self._send([f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"])

    def close(self) -> None:
        """Drop the socket; later messages go nowhere."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @staticmethod
    def _status_line(text: str) -> list[str]:
        # A newline would begin another assignment.
        return [f"STATUS={printable(' '.join(text.split()))}"] if text else []

    def _send(self, assignments: list[str]) -> None:
        if self._socket is not None and assignments:
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(assignments).encode(), self._address)


def watchdog_interval_s(environment: Mapping[str, str], pid: int | None = None) -> float | None:
    """The seconds within which the watchdog must be fed; None where this process has none to feed.

    Reads $WATCHDOG_USEC and $WATCHDOG_PID as sd_watchdog_enabled(3) does, which advises to feed it twice in
    this time.
    """
    try:
        interval_us = int(environment.get("WATCHDOG_USEC", ""))
        for_pid = int(environment.get("WATCHDOG_PID", "0"))
    except ValueError:
        return None
    if interval_us <= 0:
        return None
    if for_pid and for_pid != (os.getpid() if pid is None else pid):
        return None
    return interval_us / 1e6


class WatchdogGate:
    """Decides whether the watchdog may be fed: only upon progress, never merely because time has passed.

    Progress is a frame that went all the way from the source through the classifier. Whether the broker
    took the result does not matter: an outage of the broker is no reason to restart the agent.

    An agent with nothing to classify (its camera is unplugged and being reopened, it is paused on request,
    the next frame is not due yet) must not be killed either: a restart would not bring the camera back. So
    the capture loop reports each round in which it rightly has no frame, and that counts, unless a frame
    that was captured earlier still waits for the classifier. Thus both loops have to be alive:

    - capture hangs inside a call: neither a frame nor an idle round is reported, the watchdog bites;
    - inference hangs: the captured frame stays unprocessed, idle rounds do not count, the watchdog bites.

    The methods may be called from different threads: each is one assignment of a bool.
    """

    def __init__(self) -> None:
        self._progress = False
        self._idle = False
        self._waiting = False

    def captured(self) -> None:
        """The source delivered a frame, and it is on its way to the classifier."""
        self._waiting = True

    def processed(self) -> None:
        """The classifier is done with a frame: classified, or rightly skipped as unchanged."""
        self._waiting = False
        self._progress = True

    def discarded(self) -> None:
        """The captured frame will not be classified after all, because the agent was paused."""
        self._waiting = False

    def idle(self) -> None:
        """The capture loop is alive and rightly has no frame: reopening its source, paused, or none due."""
        self._idle = True

    def should_feed(self) -> bool:
        """Whether there was progress since this was last asked."""
        fed = self._progress or (self._idle and not self._waiting)
        self._progress = self._idle = False
        return fed

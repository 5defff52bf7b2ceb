"""A real mosquitto, and helpers that wait."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from edge_agent.mqtt.contract.message import Incoming
from edge_agent.tools.demo.subscriber import Subscriber
from tests.installed import program

HOST = "127.0.0.1"
_START_TIMEOUT_S = 10.0


class Mosquitto:
    """A mosquitto on a free loopback port, running in its context; `start` after `kill` keeps the port."""

    def __init__(self, directory: Path, config: str = "", port: int = 0) -> None:
        """`config` are further lines of mosquitto.conf; without an own `listener` there is one on `port`."""
        self.port = port or free_port()
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "mosquitto.log"
        self._config = directory / "mosquitto.conf"
        listener = "" if "listener " in config else f"listener {self.port} {HOST}\n"
        anonymous = "" if "allow_anonymous" in config else "allow_anonymous true\n"
        as_root = "user root\n"  # or it could not read the test's files; without effect for anyone else
        self._config.write_text(as_root + listener + anonymous + config.format(port=self.port, dir=directory))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Skips the test where mosquitto is not installed."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program("mosquitto"), "-c", self._config, "-v"], stdout=log, stderr=subprocess.STDOUT
            )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"mosquitto did not start:\n{self.log.read_text()}")
            time.sleep(0.01)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it: SIGTERM in good order, SIGKILL at once."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Return as soon as `condition` holds; fail if it does not within `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(0.005)


def collect(
    subscriber: Subscriber, until: Callable[[Incoming], bool], timeout_s: float = 15.0
) -> list[Incoming]:
    """Messages received, up to the first that `until` accepts; fails when that does not come."""
    messages: list[Incoming] = []
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        message = subscriber.next(max(deadline_s - time.monotonic(), 0))
        if message is not None:
            messages.append(message)
            if until(message):
                return messages
    raise AssertionError(f"not received in time; there were {messages}")

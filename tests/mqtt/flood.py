"""A client that publishes on some topics, so many times a second or as fast as it can; run as a process.

Usage: python -m tests.mqtt.flood PORT MOST_PER_S TOPIC...; on SIGTERM it prints how many rounds it made.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.wire.connection import Connection
from edge_agent.system.clock import SystemClock
from tests.mqtt.samples import broker_config

_PAUSE_S = 0.001


class Flood:
    """Publishes `online` on each of `topics`, at most `most_per_s` times a second; a context manager."""

    rounds = 0
    """How many times it has published on each topic; known when the context has ended."""

    def __init__(self, port: int, *topics: str, most_per_s: float = 1000.0) -> None:
        module = ["-m", "tests.mqtt.flood"]
        self._command = [sys.executable, *module, str(port), str(most_per_s), *topics]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.rounds = int(self._process.communicate(timeout=10)[0])


def main(port: int, most_per_s: float, topics: list[str]) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopping.set())
    connection = Connection(broker_config(port), "flood", "3.1.1", environment={})
    connection.open(SystemClock())
    started_s, rounds = time.monotonic(), 0
    while not stopping.is_set():
        while rounds < (time.monotonic() - started_s) * most_per_s and not stopping.is_set():
            for topic in topics:
                connection.send(Message(topic, b"online", qos=0))
            connection.step(0)
            rounds += 1
        time.sleep(_PAUSE_S)
    print(rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])

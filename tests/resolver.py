"""A resolver of host names that hangs until a test releases it."""

from __future__ import annotations

import socket
import threading
from typing import Any

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 1883))]


class HangingResolver:
    """Stands for `socket.getaddrinfo`; as a context manager it is released at the end."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._released = threading.Event()

    def __enter__(self) -> HangingResolver:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self._released.set()

    def __call__(self, host: str, *_: object, **__: object) -> list[Any]:
        self.asked.append(host)
        self._released.wait(30)
        return ANSWER

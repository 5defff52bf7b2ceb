"""Looks up the addresses of a host, and waits no longer than it may: a resolver can hang for minutes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

Resolve = Callable[..., list[Any]]
"""`socket.getaddrinfo`, or what stands for it."""


class Lookup:
    """Asks the resolver on a thread, since nothing else can end the wait for it.

    A thread whose answer is not awaited any more goes on. Whoever asks for the same name again waits for that
    one, so however long a resolver hangs, and however often it is asked, there is one thread for each name.
    """

    def __init__(self, resolve: Resolve = socket.getaddrinfo) -> None:
        self._resolve = resolve
        self._under_way: dict[tuple[str, int], _Question] = {}
        self._turned = 0

    def turn(self) -> None:
        """Begin with the next address of a name from now on: whatever has the first one may accept
        connections, and then not answer."""
        self._turned += 1

    def addresses(self, host: str, port: int, left_s: Callable[[], float]) -> list[Any]:
        """Return what `getaddrinfo` does, for TCP.

        `left_s` returns the seconds that are left, or raises TimeoutError. Raises OSError, also where there
        is no answer in time, and UnicodeError for what is no name.
        """
        place = (host, port)
        if (question := self._under_way.get(place)) is None:
            question = self._under_way[place] = _Question(self._resolve, host, port)
            question.start()
        question.join(left_s())
        if question.is_alive():
            raise socket.gaierror(socket.EAI_AGAIN, "the name server does not answer")
        del self._under_way[place]
        if question.error is not None:
            raise question.error
        first = self._turned % max(len(question.answer), 1)
        return question.answer[first:] + question.answer[:first]


class _Question(threading.Thread):
    """One name, and the resolver's answer or error once the thread has ended."""

    def __init__(self, resolve: Resolve, host: str, port: int) -> None:
        super().__init__(name="lookup", daemon=True)
        self._resolve = resolve
        self._place = (host, port)
        self.answer: list[Any] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.answer = self._resolve(*self._place, type=socket.SOCK_STREAM)
        except Exception as error:
            self.error = error

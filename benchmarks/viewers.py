"""People who look at the page, without a browser: the requests that its JavaScript makes, at the same rate.

  python -m benchmarks.viewers PORT VIEWERS

Reads lines: `look`, upon which so many pages are opened; `away`, upon which all are closed and what was asked
for is printed as a line of JSON: the requests by their path, and how many failed. Ends with its input.

Each viewer is four loops, as `page.js` has them, each with a connection of its own, which a browser would
keep as well: the present answers and, when there is a newer one, the frame, once a second; events, by
waiting for them; `health` every three seconds; `info` once a minute. Pictures of events are fetched as they
appear.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

_HOST = "127.0.0.1"
_TIMEOUT_S = 40.0
_AFTER_FAILURE_S = 2.0
_FIRST = (
    "/",
    "/static/page.css",
    "/static/page.js",
    "/static/api.js",
    "/static/charts.js",
    "/static/events.js",
)
_NOW_S, _BOARD_S, _MODEL_S = 1.0, 3.0, 60.0


class _Connection:
    """Asks one thing after another; keeps pictures to ask whether they have changed, as a browser does."""

    def __init__(self, port: int, asked: Counter[str]) -> None:
        self._connection = http.client.HTTPConnection(_HOST, port, timeout=_TIMEOUT_S)
        self._asked = asked
        self._tags: dict[str, str] = {}

    def ask(self, path: str) -> bytes:
        """The body of the answer. Raises OSError or HTTPException, also for a refusal."""
        known = {"If-None-Match": self._tags[path]} if path in self._tags else {}
        try:
            self._connection.request("GET", path, headers=known)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens it again
            raise
        self._asked[path.partition("?")[0]] += 1
        if answer.status not in (200, 304):
            raise OSError(f"{path}: {answer.status}")
        if tag := answer.getheader("ETag"):
            self._tags[path] = tag
        return body

    def ask_json(self, path: str) -> Any:
        return json.loads(self.ask(path))

    def close(self) -> None:
        self._connection.close()


@dataclass
class Viewer:
    """One page that is open until `leave`."""

    port: int
    asked: Counter[str] = field(default_factory=Counter)
    """The requests, by path; `failed` are those that had no answer."""

    def __post_init__(self) -> None:
        self._leaving = threading.Event()
        self._shown_frame = -1
        self._newest_event = 0
        self._is_first = True
        loops: tuple[Callable[[_Connection], float], ...] = (
            self._now,
            self._events,
            self._board,
            self._model,
        )
        self._threads = [threading.Thread(target=self._loop, args=(one,), daemon=True) for one in loops]

    def look(self) -> None:
        """Open the page."""
        connection = _Connection(self.port, self.asked)
        for path in (*_FIRST, "/api/v1/frame.jpg?width=640"):
            connection.ask(path)
        connection.close()
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """Close it; what is being waited for is left alone."""
        self._leaving.set()

    def _loop(self, work: Callable[[_Connection], float]) -> None:
        connection = _Connection(self.port, self.asked)
        while not self._leaving.is_set():
            try:
                pause_s = work(connection)
            except (OSError, http.client.HTTPException):
                self.asked["failed"] += not self._leaving.is_set()
                pause_s = _AFTER_FAILURE_S
            self._leaving.wait(pause_s)
        connection.close()

    def _now(self, connection: _Connection) -> float:
        states = connection.ask_json("/api/v1/states")["states"]
        newest = max((state["frame"]["id"] for state in states), default=self._shown_frame)
        if newest != self._shown_frame:
            connection.ask("/api/v1/frame.jpg?width=640")
            self._shown_frame = newest
        return _NOW_S

    def _events(self, connection: _Connection) -> float:
        wait = "" if self._is_first else "&wait=20"
        answer = connection.ask_json(f"/api/v1/events?since={self._newest_event}{wait}")
        self._is_first = False
        self._newest_event = answer["newest"]
        for event in answer["events"]:
            if event["has_picture"]:
                connection.ask(f"/api/v1/event.jpg?seq={event['seq']}")
        return float(answer["next_ms"]) / 1000

    def _board(self, connection: _Connection) -> float:
        if not self.asked["/api/v1/history"]:
            connection.ask("/api/v1/history")
        connection.ask("/api/v1/health")
        return _BOARD_S

    def _model(self, connection: _Connection) -> float:
        connection.ask("/api/v1/info")
        return _MODEL_S


def main(arguments: Sequence[str]) -> int:
    port, number = (int(argument) for argument in arguments)
    viewers: list[Viewer] = []
    for line in sys.stdin:
        if line.strip() == "look":
            viewers = [Viewer(port) for _ in range(number)]
            for viewer in viewers:
                viewer.look()
        else:
            for viewer in viewers:
                viewer.leave()
            print(json.dumps(sum((viewer.asked for viewer in viewers), Counter())), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

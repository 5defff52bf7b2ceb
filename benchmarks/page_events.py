"""Compares two ways to tell the page of events: long polling, which it uses, and server-sent events.

  python -m benchmarks.page_events [--viewers 5 20] [--seconds 20] [--every 5]

Runs the page's own server, with an agent that changes its label every few seconds, in a process of its own,
and has viewers wait for the changes: by asking again and again, as `events.js` does, or by one request each
whose answer goes on. Such an answer keeps a thread of the server for as long as its page is open, so that it
gets as many more of them as there are viewers. Printed are the threads that the viewers hold, what memory
they add, how often the server wakes, what share of a core it takes, and how late the changes come.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, cast

from benchmarks.page import Usage, process_usage
from edge_agent.config.address import ListenAddress
from edge_agent.config.schema import WebConfig
from edge_agent.daemon.web_agent import MOST_WAITING
from edge_agent.mqtt.contract.payloads import plain
from edge_agent.system.clock import SystemClock
from edge_agent.system.text import plain_json
from edge_agent.web.application import Application
from edge_agent.web.connections import Limits, PageServer
from edge_agent.web.event_ring import Event, EventRing
from edge_agent.web.site import site
from tests.mqtt import samples
from tests.web.helpers import HOST, FakeAgent, free_port

WAYS = ("polling", "stream")

_START_S = 20.0
_TIMEOUT_S = 40.0
_SETTLE_S = 3.0
_HEARTBEAT_S = 15.0
_STREAM = "/api/v1/stream"


class Streaming:
    """The page's application, and beside it a path whose answer is a stream of events."""

    def __init__(self, application: Application, events: EventRing) -> None:
        self._application = application
        self._events = events
        self.admit = application.admit
        self.close = application.close

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != _STREAM:
            return self._application(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")])
        return self._stream()

    def _stream(self) -> Iterator[bytes]:
        newest = self._events.since(0).newest
        while True:
            found = self._events.since(newest, _HEARTBEAT_S)
            newest = found.newest
            told = (json.dumps(plain_json(plain(event.changed))) for event in found.events)
            yield "".join(f"data: {line}\n\n" for line in told).encode() or b": still here\n\n"


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    if args.serve:
        way, port, viewers = args.serve
        return _serve(way, int(port), int(viewers), args.every)
    print(f"{'':10}{'viewers':>8}{'threads':>9}{'MB':>7}{'wake-ups/s':>12}{'CPU':>8}{'late, ms':>10}")
    for viewers in args.viewers:
        for way in WAYS:
            _measure(args, way, viewers)
    return 0


def _measure(args: argparse.Namespace, way: str, viewers: int) -> None:
    with _server(args, way, viewers) as (pid, port):
        alone, lateness_ms, ending = process_usage(pid), list[float](), threading.Event()
        wait = _poll if way == "polling" else _follow
        held = [threading.Thread(target=wait, args=(port, lateness_ms, ending)) for _ in range(viewers)]
        for thread in held:
            thread.start()
        time.sleep(_SETTLE_S)
        before = process_usage(pid)
        time.sleep(args.seconds)
        after = process_usage(pid)
        ending.set()
        for thread in held:
            thread.join()
    _print(way, viewers, alone, before, after, lateness_ms)


def _print(
    way: str, viewers: int, alone: Usage, before: Usage, after: Usage, lateness_ms: Sequence[float]
) -> None:
    seconds = after.at_s - before.at_s
    held = min(viewers, MOST_WAITING) if way == "polling" else viewers
    print(
        f"{way:10}{viewers:8}{held:9}{after.rss_mb - alone.rss_mb:7.2f}"
        f"{(after.wakeups - before.wakeups) / seconds:12.1f}{(after.cpu_s - before.cpu_s) / seconds:8.2%}"
        f"{median(lateness_ms):10.0f}",
        flush=True,
    )


def _poll(port: int, lateness_ms: list[float], ending: threading.Event) -> None:
    """Wait for events as the page does."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    newest, is_first = 0, True
    while not ending.is_set():
        connection.request("GET", f"/api/v1/events?since={newest}{'' if is_first else '&wait=20'}")
        answer = json.loads(connection.getresponse().read())
        if not is_first:
            lateness_ms.extend(map(_lateness_ms, answer["events"]))
        newest, is_first = answer["newest"], False
        ending.wait(answer["next_ms"] / 1000)
    connection.close()


def _follow(port: int, lateness_ms: list[float], ending: threading.Event) -> None:
    """Take events from a stream."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    connection.request("GET", _STREAM)
    answer = connection.getresponse()
    while not ending.is_set():
        line = answer.readline()
        if line.startswith(b"data: "):
            lateness_ms.append(_lateness_ms(json.loads(line[6:])))
    connection.close()


def _lateness_ms(event: Mapping[str, Any]) -> float:
    return 1000 * (time.time() - datetime.fromisoformat(event["ts"]).timestamp())


@contextmanager
def _server(args: argparse.Namespace, way: str, viewers: int) -> Iterator[tuple[int, int]]:
    """The server's process id and port, once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.page_events", "--every", str(args.every)]
    process = subprocess.Popen([*command, "--serve", way, str(port), str(viewers)])
    try:
        deadline_s = time.monotonic() + _START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline_s:
                sys.exit("the server did not start")
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/api/v1/events")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _serve(way: str, port: int, viewers: int, every_s: float) -> int:
    """Serve the page until killed, and change the label again and again."""
    is_stream, limits = way == "stream", Limits()
    agent = FakeAgent(events=EventRing(viewers if is_stream else MOST_WAITING))
    with tempfile.TemporaryDirectory(prefix="edge-agent-events-") as directory:
        application = site(WebConfig(), agent, Path(directory), SystemClock())
        served = cast(Application, Streaming(application, agent.events))
        if is_stream:
            limits = replace(limits, threads=limits.threads + viewers)
        server = PageServer(ListenAddress(HOST, port), served, limits)
        server._server.adj.send_bytes = 1  # a stream's lines are sent as they come
        server.start()
        for seq in range(1, sys.maxsize):
            time.sleep(every_s)
            agent.events.add(Event(replace(samples.changed(seq), ts=datetime.now(UTC))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page_events",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--viewers", metavar="N", type=int, nargs="+", default=[5, 20], help="who wait (default: 5 20)")
    add("--seconds", metavar="N", type=float, default=20.0, help="of each (default: 20)")
    add("--every", metavar="N", type=float, default=5.0, help="seconds between events (default: 5)")
    add("--serve", nargs=3, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

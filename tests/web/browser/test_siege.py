"""The running agent under attack through its page: no frame is lost, and its memory stays in its budget."""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.memory.procfs import read_memory
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from tests.attack.tally import Tally
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import NAMES, receive
from tests.daemon.process import Daemon
from tests.web.browser.conftest import Served
from tests.web.helpers import HOST, Client, free_port

pytestmark = pytest.mark.web

REQUESTS = 10_000
CLIENTS = 200
_PATHS = (
    "/",
    "/api/v1/state",
    "/api/v1/events",
    "/api/v1/classify",
    "/static/page.js",
    "/login",
    "/metrics",
    "/..",
)
_REFUSALS = """\
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 409, 411, 413, 415, 422]

# A document says what is well formed: not which pictures, labels, tags and regions there are.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 303, 304, 404, 409, 422, 503, 507]
"""
_METHODS = ("GET", "POST", "PUT", "HEAD", "BREW", "get", "")


def hostile(random_: random.Random) -> bytes:
    """A request that is damaged, out of bounds, or simply odd."""
    path = random_.choice(_PATHS) + random_.choice(
        ("", "?since=-1", "?" + "a=b&" * 20, "/../../etc/passwd", "%00")
    )
    method = random_.choice(_METHODS)
    lines = [f"{method} {path} HTTP/{random_.choice(('1.0', '1.1', '2.0', '9'))}".encode()]
    lines += random_.sample(
        (
            b"Host: localhost",
            b"Host: evil.example",
            b"Origin: http://evil.example",
            b"Content-Length: 99999999999",
            b"Content-Length: -1",
            b"Content-Length: 10",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: chunked, gzip",
            b"Authorization: Bearer " + b"f" * 500,
            b"Cookie: edge_agent_session=" + b"0" * 300,
            b"X: " + b"y" * random_.randrange(20_000),
            b": empty",
            b"No colon",
            b"Expect: 100-continue",
            b"Connection: close",
        ),
        random_.randrange(1, 8),
    )
    sent = b"\r\n".join(lines) + b"\r\n\r\n" + random_.randbytes(random_.randrange(64))
    if random_.random() < 0.3:
        place = random_.randrange(len(sent))
        sent = sent[:place] + random_.randbytes(random_.randrange(1, 8)) + sent[place + 1 :]
    return sent


def statuses(port: int, sent: bytes) -> Iterator[bytes]:
    with socket.create_connection((HOST, port), 20) as connection, suppress(OSError):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while more := connection.recv(65536):
            received += more
        yield received.split(b" ", 2)[1] if received.startswith(b"HTTP/") else b"none"


def frames(client: Client) -> tuple[int, int]:
    camera = client.ask("/api/v1/health").json["camera"]
    return camera["frames"], camera["dropped"]


def test_ten_thousand_hostile_requests_harm_nothing(served: Served, tally: Tally) -> None:
    client, random_ = served.client, random.Random(8)
    before_mb = read_memory(served.daemon.pid).rss_mb
    captured, dropped = frames(client)
    found: Counter[bytes] = Counter()
    most_mb = before_mb
    begun_s = time.monotonic()
    for number in range(REQUESTS):
        found.update(statuses(client.port, hostile(random_)))
        if number % 500 == 0:
            most_mb = max(most_mb, read_memory(served.daemon.pid).rss_mb)
        if number % 40 == 0:
            time.sleep(0.4)  # below the rate that is allowed
    seconds = time.monotonic() - begun_s
    now, now_dropped = frames(client)
    assert served.daemon.running
    assert found[b"500"] == 0, served.daemon.log[-4000:]
    assert now_dropped - dropped <= 1
    assert now - captured > 0.8 * seconds  # a frame a second
    assert "Traceback" not in served.daemon.log
    assert most_mb < before_mb + 10
    tally.add(
        "requests to the page, damaged and out of bounds",
        REQUESTS,
        f"none of them a defect, no frame lost: {before_mb:.0f} MB before, {most_mb:.0f} MB at most",
    )


def test_two_hundred_clients_and_slow_ones_cost_no_frame(served: Served, tally: Tally) -> None:
    client = served.client
    before_mb = read_memory(served.daemon.pid).rss_mb
    captured, dropped = frames(client)
    answers: Counter[int] = Counter()
    ending = threading.Event()

    def look() -> None:
        while not ending.wait(0.5):
            try:
                answers[client.ask("/api/v1/state").status] += 1
            except (OSError, http.client.HTTPException):
                answers[0] += 1

    def dribble() -> None:
        while not ending.is_set():
            with suppress(OSError), socket.create_connection((HOST, client.port), 20) as connection:
                for byte in b"GET /api/v1/state HTTP/1.1\r\n" * 1000:
                    connection.sendall(bytes([byte]))
                    if ending.wait(0.2):
                        return

    threads = [threading.Thread(target=look) for _ in range(CLIENTS)]
    threads += [threading.Thread(target=dribble) for _ in range(40)]
    for thread in threads:
        thread.start()
    time.sleep(20)
    most_mb = read_memory(served.daemon.pid).rss_mb
    ending.set()
    for thread in threads:
        thread.join()
    now, now_dropped = frames(client)
    assert now - captured > 15
    assert now_dropped - dropped <= 2
    assert answers[200] > 500
    assert answers[500] == 0
    assert most_mb < before_mb + 12
    tally.add(
        "clients of the page at once, and 40 that send a byte at a time",
        CLIENTS,
        f"{answers[200]} answers, no frame lost: {before_mb:.0f} MB before, {most_mb:.0f} MB then",
    )


def test_many_pictures_at_once_wait_or_are_refused(served: Served) -> None:
    client = served.client
    before_mb = read_memory(served.daemon.pid).rss_mb
    picture = (PICTURES_DIR / NAMES[0]).read_bytes()
    found: Counter[int] = Counter()

    def send() -> None:
        for _ in range(10):
            with suppress(ConnectionError):
                found[client.ask("/api/v1/classify", "POST", picture).status] += 1

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) <= {200, 503}
    assert found[200] > 10
    assert read_memory(served.daemon.pid).rss_mb < before_mb + 12


def test_five_viewers_cost_hardly_a_frame(served: Served) -> None:
    """What they take of the CPU cannot be used for frames: at most three in a hundred, of two cores."""
    measured = [(cpu_share(served, 0), cpu_share(served, 5)) for _ in range(3)]
    alone, seen = sorted(measured, key=lambda pair: pair[1] - pair[0])[1]
    print(f"{alone:.1%} of a core alone, {seen:.1%} with five viewers")
    assert seen - alone < 0.06


def test_the_page_takes_little_memory(start: StartDaemon, subscriber: Subscriber) -> None:
    without = start(source={"fps": 4}, publish={"event_image": True})
    alone_mb = steady_mb(without, subscriber)
    without.kill()
    port = free_port()
    web = {"enabled": True, "listen": f"{HOST}:{port}"}
    daemon = start(web=web, source={"fps": 4}, publish={"event_image": True})
    served = Served(daemon, Client(port))
    open_mb = steady_mb(daemon, subscriber)
    cpu_share(served, 5, 10.0)
    seen_mb = read_memory(daemon.pid).rss_mb
    print(f"{alone_mb:.1f} MB without the page, {open_mb:.1f} with it, {seen_mb:.1f} with five viewers")
    assert open_mb - alone_mb < 6
    assert seen_mb - alone_mb < 10


def steady_mb(daemon: Daemon, subscriber: Subscriber) -> float:
    """The agent's memory once it has started, and has been trimmed."""
    for _ in range(30):
        receive(subscriber, "state")
    return read_memory(daemon.pid).rss_mb


def cpu_share(served: Served, viewers: int, seconds: float = 6.0) -> float:
    """How much of a core the agent takes while so many pages are open."""
    ending = threading.Event()

    def view() -> None:
        while not ending.wait(1.0):
            for path in ("/api/v1/states", "/api/v1/frame.jpg?width=640", "/api/v1/events?wait=1"):
                served.client.ask(path)

    threads = [threading.Thread(target=view) for _ in range(viewers)]
    for thread in threads:
        thread.start()
    begun_s, before_s = time.monotonic(), cpu_s(served.daemon.pid)
    time.sleep(seconds)
    share = (cpu_s(served.daemon.pid) - before_s) / (time.monotonic() - begun_s)
    ending.set()
    for thread in threads:
        thread.join()
    return share


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_api_is_as_its_document_says(served: Served, tmp_path: Path) -> None:
    """schemathesis makes requests of the document, in bounds and out of them."""
    place = os.environ.get("SCHEMATHESIS", "")
    if not Path(place).is_dir():
        pytest.skip("schemathesis is not here: `make web-test` fetches it")
    (tmp_path / "schemathesis.toml").write_text(_REFUSALS)
    url = f"{served.url}api/v1/openapi.json"
    program = "from schemathesis.cli import schemathesis; import sys; sys.argv[0] = 'st'; schemathesis()"
    checked = subprocess.run(
        [
            sys.executable,
            *("-c", program, "run", url, "--url", served.url.rstrip("/"), "--max-examples", "60"),
            *("--checks", "all", "--request-timeout", "40", "--max-response-time", "40", "--seed", "8"),
            *("--exclude-operation-id", "saveSettings"),
        ],
        env=os.environ | {"PYTHONPATH": place},
        cwd=tmp_path,  # where it keeps what it has found
        capture_output=True,
        text=True,
        check=False,
    )
    print(checked.stdout[-6000:])
    assert checked.returncode == 0, checked.stdout[-6000:] + checked.stderr[-2000:]
    assert served.daemon.running

"""The server against clients that are slow, greedy or hostile."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from edge_agent.web.connections import Limits
from edge_agent.web.recognise import MOST_PICTURE_BYTES
from tests.web.helpers import HOST, Client, FakeAgent, serving

_HASTY = Limits(request_s=0.5, answer_s=0.5, idle_s=2)


def dribble(connection: socket.socket, request: bytes) -> None:
    for byte in request:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def test_a_request_that_comes_byte_by_byte_is_cut_off(agent: FakeAgent, tmp_path: Path) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"z" * 3000
    with serving(agent, tmp_path, limits=_HASTY) as client:
        with socket.create_connection((HOST, client.port), 30) as slow, pytest.raises(ConnectionError):
            dribble(slow, request)
        assert client.ask("/healthz").status == 200


def test_a_body_that_does_not_come_is_not_waited_for(agent: FakeAgent, tmp_path: Path) -> None:
    head = b"POST /api/v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    with serving(agent, tmp_path, limits=_HASTY) as client:
        assert client.raw(head) == b""


def test_many_slow_clients_keep_nobody_out(agent: FakeAgent, tmp_path: Path) -> None:
    with serving(agent, tmp_path, limits=Limits(request_s=0.5, connections=12)) as client:
        slow = [socket.create_connection((HOST, client.port), 30) for _ in range(40)]
        for connection in slow:
            connection.sendall(b"GET / HT")
        assert client.ask("/healthz").status == 200
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET /api/v1/state HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"400"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n", b"413"),
        (b"POST /api/v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST /api/v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"POST /api/v1/classify HTTP/1.1\r\nHost: evil\r\nContent-Length: 5000\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n", b"421"),
        (b"GET / HTTP/1.0\r\n\r\n", b"421"),
    ],
)
def test_a_request_that_is_none_is_refused(client: Client, sent: bytes, status: bytes) -> None:
    assert client.raw(sent).split(b" ", 2)[1] == status
    assert client.ask("/healthz").status == 200


def test_a_large_body_is_refused_before_it_comes(client: Client, agent: FakeAgent) -> None:
    head = b"POST /api/v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
    wait = b"Expect: 100-continue\r\n\r\n"
    assert b" 413 " in client.raw(head % (MOST_PICTURE_BYTES + 1) + wait).splitlines()[0]
    agent.room = 5 << 20
    assert b" 503 " in client.raw(head % (3 << 20) + wait).splitlines()[0]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../page.py",
        "/static/%2e%2e/page.py",
        "/static/..%2f..%2fpage.py",
        "/..%00/etc/passwd",
        "//etc/passwd",
        "/static/",
        "/static/index.html",
        "/static/page.css/",
        "/api/v1/../../etc/passwd",
    ],
)
def test_no_path_leads_out(client: Client, path: str) -> None:
    assert client.ask(path).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_other_methods_are_refused(client: Client, method: str) -> None:
    assert client.ask("/api/v1/state", method).status == 405


def test_every_answer_forbids_what_it_does_not_need(client: Client) -> None:
    for path in ("/", "/login", "/static/page.js", "/api/v1/state", "/nowhere"):
        headers = client.ask(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_closing_sends_away_who_waits(agent: FakeAgent, tmp_path: Path) -> None:
    with serving(agent, tmp_path) as client:
        waiting = socket.create_connection((HOST, client.port), 30)
        waiting.sendall(b"GET /api/v1/events?wait=25 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.ask("/healthz")
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 20
    waiting.close()

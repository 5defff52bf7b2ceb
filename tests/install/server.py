"""An HTTPS server on loopback with a certificate of a test's own authority; it may behave badly."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.mqtt.wire.certificates import Authority, Files

HOST = "127.0.0.1"
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True, slots=True)
class Site:
    """Where it is, and who signed its certificate."""

    port: int
    ca_file: Path
    asked: list[str]
    """The paths that were asked for."""

    def url(self, path: str) -> str:
        return f"https://{HOST}:{self.port}{path}"


@contextmanager
def serving(
    authority: Authority, answers: Mapping[str, Answer], certificate: Files | None = None
) -> Iterator[Site]:
    """Answers by path while the block runs; other paths are not found."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer = answers.get(self.path)
            with suppress(OSError):
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...

    files = certificate or authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = Server((HOST, 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Site(server.server_address[1], authority.file, asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def file(content: bytes) -> Answer:
    """Sends the whole, with its length."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def without_length(content: bytes) -> Answer:
    """Sends it, and ends the connection."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Sends for as long as somebody listens."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def slow(piece_s: float, content: bytes = bytes(1000)) -> Answer:
    """Sends a byte at a time, never silent for long."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for byte in content:
            handler.wfile.write(bytes([byte]))
            time.sleep(piece_s)

    return answer


def slow_head(handler: BaseHTTPRequestHandler) -> None:
    """Its head never ends."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        handler.wfile.write(f"X-{number}: ".encode())
        time.sleep(0.05)


def silent(_: BaseHTTPRequestHandler) -> None:
    """Says nothing."""
    time.sleep(3)


def status(code: int) -> Answer:
    return lambda handler: handler.send_error(code)


def redirect(url: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer

"""A camera of a few lines for tests: it answers each request on a thread, as the test has it."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from PIL import Image

Answer = Callable[["Request"], None]
PASSWORD = "s3cret-pw"


def jpeg(colour: tuple[int, int, int] = (250, 120, 10), size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


@dataclass
class Request:
    """One request, and the connection to answer it on."""

    connection: socket.socket
    target: str
    headers: dict[str, str]
    """The names are in lower case."""

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(
        self, body: bytes, content_type: str = "image/jpeg", status: str = "200 OK", *headers: str
    ) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        self.send("\r\n".join([*lines, *headers, "", ""]).encode() + body)


def part(data: bytes, *headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in headers).encode() + b"\r\n" + data + b"\r\n"


def stream(request: Request, *parts: bytes, boundary: str = "cut", declared: str = "cut") -> None:
    head = f"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary={declared}\r\n\r\n"
    request.send(head.encode() + b"".join(b"--" + boundary.encode() + b"\r\n" + data for data in parts))


@dataclass
class HttpCamera:
    """Listens on a port of its own; `requests` has all that were asked."""

    port: int
    requests: list[Request] = field(default_factory=list)
    scheme: str = "http"

    def url(self, path: str = "/", credentials: str = "") -> str:
        at = f"{credentials}@" if credentials else ""
        return f"{self.scheme}://{at}127.0.0.1:{self.port}{path}"


@contextmanager
def http_camera(answer: Answer, context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[HttpCamera]:
    """Serve `answer`, which may be called many times for one connection, until the end of the block.

    `port`: 0 for one that is free.
    """
    listener = socket.create_server(("127.0.0.1", port))
    camera = HttpCamera(listener.getsockname()[1], scheme="https" if context else "http")
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        # The client hangs up when it likes; whoever does not speak TLS is not answered.
        with suppress(OSError), connection:
            stream = context.wrap_socket(connection, server_side=True) if context else connection
            with stream, stream.makefile("rb") as incoming:
                while line := incoming.readline():
                    target = line.decode().split(" ")[1]
                    headers = {}
                    while (header := incoming.readline().decode().strip()) != "":
                        name, _, value = header.partition(":")
                        headers[name.lower()] = value.strip()
                    camera.requests.append(request := Request(stream, target, headers))
                    answer(request)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield camera
    finally:
        for open_socket in (listener, *connections):
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        accepting.join(5)


def digest(algorithm: str, qop: str = ', qop="auth"', picture: bytes = jpeg()) -> Answer:
    """A server that checks a Digest as RFC 7616 has it, with a nonce that is stale after two answers.

    The user is `me`, the password PASSWORD.
    """
    make_hash = {"": hashlib.md5, "MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
    served: list[str] = []

    def hashed(*parts: str) -> str:
        return make_hash(":".join(parts).encode()).hexdigest()

    def answer(request: Request) -> None:
        nonce = f"n{len(served) // 2}"
        got = dict(re.findall(r'(\w+)="?([^",]*)"?', request.headers.get("authorization", "")))
        secret, asked = hashed("me", "cam", PASSWORD), hashed("GET", request.target)
        middle = [got.get("nc", ""), got.get("cnonce", ""), "auth"] if qop else []
        is_right = got.get("response") == hashed(secret, got.get("nonce", ""), *middle, asked)
        if is_right and got["nonce"] == nonce:
            assert got["uri"] == request.target
            served.append(got.get("nc", ""))
            request.answer(picture)
            return
        named = f", algorithm={algorithm}" if algorithm else ""
        stale = ", stale=true" if is_right else ""
        request.answer(
            b"no",
            "text/plain",
            "401 No",
            'WWW-Authenticate: Basic realm="cam"' if algorithm == "SHA-256" else "X-Nothing: 1",
            f'WWW-Authenticate: Digest realm="cam", nonce="{nonce}", opaque="o"{qop}{named}{stale}',
        )

    return answer

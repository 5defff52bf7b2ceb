"""A camera of a few lines for tests: it answers each request on a thread, as the test has it."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from PIL import Image

Answer = Callable[["Request"], None]


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
def http_camera(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[HttpCamera]:
    """Serve `answer`, which may be called many times for one connection, until the end of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
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

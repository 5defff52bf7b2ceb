"""A small RTSP server for tests: Motion JPEG or else over RTP, interleaved in the RTSP connection.

Written to RFC 2326 (RTSP), RFC 3550 (RTP) and RFC 2435 (JPEG over RTP), of which it does what FFmpeg asks
for. It can misbehave on purpose: stop sending, hang up, refuse a password.
"""

from __future__ import annotations

import base64
import io
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

_CLOCK_HZ = 90_000
_JPEG_PAYLOAD = 26
_CHUNK = 1200
_OWN_QUANTISATION = 255
_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n{media}a=control:track0\r\n"


class Media(Protocol):
    """What is sent over RTP."""

    @property
    def payload_type(self) -> int: ...

    @property
    def media(self) -> str:
        """The lines of a session description."""
        ...

    def payloads(self, number: int) -> Iterator[bytes]:
        """The RTP payloads of a picture."""
        ...


@dataclass(frozen=True)
class JpegScan:
    """The parts of a baseline 4:2:0 JPEG that RTP carries: the rest is the same for all of them."""

    width: int
    height: int
    quantisation: bytes
    data: bytes

    @property
    def payload_type(self) -> int:
        return _JPEG_PAYLOAD

    @property
    def media(self) -> str:
        return f"m=video 0 RTP/AVP {_JPEG_PAYLOAD}\r\n"

    def payloads(self, _number: int) -> Iterator[bytes]:
        for offset in range(0, len(self.data), _CHUNK):
            # RFC 2435 section 3.1: type 1 is 4:2:0; the sides are in units of 8 pixels
            head = struct.pack(">IBBBB", offset, 1, _OWN_QUANTISATION, self.width // 8, self.height // 8)
            tables = b"" if offset else struct.pack(">BBH", 0, 0, len(self.quantisation)) + self.quantisation
            yield head + tables + self.data[offset : offset + _CHUNK]


def jpeg_scan(picture: Image.Image) -> JpegScan:
    """Encode `picture`, whose sides must be multiples of 16."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=90, subsampling="4:2:0")
    tables = b""
    for marker, body in _segments(buffer.getvalue()):
        if marker == 0xDB:  # DQT: one table a segment, or several
            for start in range(0, len(body), 65):
                tables += body[start + 1 : start + 65]
        if marker == 0xDA:
            return JpegScan(*picture.size, tables, body)
    raise AssertionError("no scan")


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker segments of a JPEG, without their lengths; for SOS the entropy-coded data."""
    at = 2
    while True:
        marker = jpeg[at + 1]
        (length,) = struct.unpack_from(">H", jpeg, at + 2)
        if marker == 0xDA:
            yield marker, jpeg[at + 2 + length : -2]
            return
        yield marker, jpeg[at + 4 : at + 2 + length]
        at += 2 + length


class RtspServer:
    """Serves one picture again and again, or a stream, at rtsp://127.0.0.1:`port`/cam."""

    def __init__(
        self,
        picture: Image.Image | Media,
        *,
        fps: float = 100,
        password: str = "",
        port: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`password`: of the user `admin`; empty for none. `context`: to speak TLS."""
        self._media = jpeg_scan(picture) if isinstance(picture, Image.Image) else picture
        self._period_s = 1 / fps
        self._password = password
        self._context = context
        self._stopping = threading.Event()
        self._stalled = threading.Event()
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "cam", credentials: str = "") -> str:
        scheme = "rtsps" if self._context else "rtsp"
        return f"{scheme}://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}/{path}"

    def stall(self) -> None:
        """Keep the connections but send no more pictures."""
        self._stalled.set()

    def stop(self) -> None:
        """Hang up and listen no more, as a camera that lost its power."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._context is not None:
            try:
                client = self._context.wrap_socket(client, server_side=True)
            except OSError:
                return
        lock = threading.Lock()
        with suppress(OSError), client.makefile("rb") as incoming:
            while (line := incoming.readline()) and not self._stopping.is_set():
                if line[:1] == b"$":
                    raise AssertionError("a client that sends data is not expected")
                method, url, _ = line.decode().split()
                headers = dict(_headers(incoming))
                reply = self._reply(method, url, headers)
                with lock:
                    client.sendall(reply)
                if method == "PLAY":
                    threading.Thread(target=self._play, args=(client, lock), daemon=True).start()
                if method == "TEARDOWN":
                    break
        client.close()

    def _reply(self, method: str, url: str, headers: dict[str, str]) -> bytes:
        status, extra, body = "200 OK", "", ""
        token = base64.b64encode(f"admin:{self._password}".encode()).decode()
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif self._password and headers.get("authorization") != f"Basic {token}":
            self.refused += 1
            status, extra = "401 Unauthorized", 'WWW-Authenticate: Basic realm="test"\r\n'
        elif not url.rstrip("/").endswith(("/cam", "/track0")):
            status = "404 Not Found"
        elif method == "DESCRIBE":
            body = _SDP.format(media=self._media.media)
            extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        return (
            f"RTSP/1.0 {status}\r\nCSeq: {headers.get('cseq', '0')}\r\nSession: 1\r\n{extra}\r\n{body}"
        ).encode()

    def _play(self, client: socket.socket, lock: threading.Lock) -> None:
        number = sequence = ticks = 0
        with suppress(OSError):
            while not self._stopping.wait(self._period_s):
                if self._stalled.is_set():
                    continue
                for packet in self._packets(number, sequence, ticks):
                    sequence += 1
                    with lock:
                        client.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                self.sent += 1
                number += 1
                ticks += int(self._period_s * _CLOCK_HZ)

    def _packets(self, number: int, sequence: int, ticks: int) -> Iterator[bytes]:
        payloads = list(self._media.payloads(number))
        for index, payload in enumerate(payloads):
            kind = self._media.payload_type | (index == len(payloads) - 1) << 7
            head = struct.pack(">BBHII", 0x80, kind, (sequence + index) & 0xFFFF, ticks & 0xFFFFFFFF, 1)
            yield head + payload


def _headers(incoming: io.BufferedReader) -> Iterator[tuple[str, str]]:
    while line := incoming.readline().decode().strip():
        name, _, value = line.partition(":")
        yield name.strip().lower(), value.strip()

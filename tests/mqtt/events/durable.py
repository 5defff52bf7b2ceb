"""A subscriber with a durable session that reads every byte a dying broker has sent, to count events.

It speaks as much of MQTT 3.1.1 as it needs. Unlike a full client it keeps what it has received when the
connection breaks: what the broker acknowledged to the publisher and wrote to this socket is counted.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from tests.mqtt.brokers import HOST, wait_until

_CONNACK, _PUBLISH, _SUBACK = 2, 3, 9


class DurableSubscriber:
    """Keeps a session at the broker (clean session off), through its restarts; a context manager."""

    def __init__(self, port: int, topic: str) -> None:
        self.payloads: list[bytes] = []
        self._port = port
        self._topic = topic
        self._attached = threading.Event()
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> DurableSubscriber:
        self._thread.start()
        self.wait_attached()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def wait_attached(self) -> None:
        """Wait until the broker has attached the session, and has sent what waited in it."""
        wait_until(self._attached.is_set)

    def wait_detached(self) -> None:
        """Wait until it has noticed that the broker is gone: or `wait_attached` would see the old session."""
        wait_until(lambda: not self._attached.is_set())

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with socket.create_connection((HOST, self._port), timeout=30) as connected:
                    self._socket = connected
                    self._converse(connected)
            except OSError:
                pass
            self._attached.clear()
            time.sleep(0.005)

    def _converse(self, connected: socket.socket) -> None:
        greeting = _text("MQTT") + bytes([4, 0, 0, 60]) + _text("durable")
        connected.sendall(_packet(0x10, greeting))
        for kind, flags, body in _packets(connected):
            if kind == _CONNACK:
                connected.sendall(_packet(0x82, b"\0\x01" + _text(self._topic) + b"\x01"))
            elif kind == _SUBACK:
                self._attached.set()
            elif kind == _PUBLISH:
                self._take(connected, flags, body)

    def _take(self, connected: socket.socket, flags: int, body: bytes) -> None:
        (length,) = struct.unpack_from("!H", body)
        rest = body[2 + length :]
        is_assured = bool(flags & 0b0110)
        self.payloads.append(rest[2:] if is_assured else rest)
        if is_assured:
            with suppress(OSError):  # the broker may be gone; what it has sent is still to be read
                connected.sendall(_packet(0x40, rest[:2]))


def _packets(connected: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each packet, until nothing more can be read."""
    buffered = b""
    while True:
        try:
            received = connected.recv(65536)
        except OSError:
            return
        if not received:
            return
        buffered += received
        while (split := _split(buffered)) is not None:
            packet, buffered = split
            yield packet


def _split(buffered: bytes) -> tuple[tuple[int, int, bytes], bytes] | None:
    """The first packet and what follows it; None when it is not complete."""
    length, shift, position = 0, 0, 1
    while True:
        if position >= len(buffered):
            return None
        byte = buffered[position]
        length |= (byte & 0x7F) << shift
        shift += 7
        position += 1
        if not byte & 0x80:
            break
    if len(buffered) < position + length:
        return None
    body = buffered[position : position + length]
    return (buffered[0] >> 4, buffered[0] & 0x0F, body), buffered[position + length :]


def _packet(first: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([first, len(body)]) + body


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()

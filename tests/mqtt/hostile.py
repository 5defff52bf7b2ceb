"""Servers of a few lines that do what no broker should: to be connected to.

`serve(behaviour)` runs one; a behaviour is a function that is called with each connection's `Peer`, and whose
end is the end of the connection.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.mqtt.brokers import HOST

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP = 1, 2, 3, 4, 8, 9, 12, 13
ACCEPTED = {"5": bytes.fromhex("20 03 00 00 00"), "3.1.1": bytes.fromhex("20 02 00 00")}
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a client."""

    kind: int
    flags: int
    body: bytes

    @property
    def topic(self) -> str:
        """The topic of a PUBLISH; the filter of a SUBSCRIBE, in 3.1.1."""
        start = 0 if self.kind == PUBLISH else 2
        length = int.from_bytes(self.body[start : start + 2], "big")
        return self.body[start + 2 : start + 2 + length].decode()

    @property
    def message_id(self) -> bytes:
        """The id of a PUBLISH with QoS 1, or of a SUBSCRIBE."""
        start = 2 + len(self.topic.encode()) if self.kind == PUBLISH else 0
        return self.body[start : start + 2]

    @property
    def protocol(self) -> str:
        """The MQTT version of a CONNECT."""
        return "5" if self.body[6] == 5 else "3.1.1"


@dataclass
class Peer:
    """A connected client, as the server sees it."""

    socket: socket.socket
    stopping: threading.Event
    sent_bytes: int = 0
    _buffered: bytes = b""

    def packet(self) -> Packet | None:
        """The client's next packet; None when it has gone."""
        while (found := _first_packet(self._buffered)) is None:
            received = self.socket.recv(65536)
            if not received:
                return None
            self._buffered += received
        packet, self._buffered = found
        return packet

    def packets(self) -> Iterator[Packet]:
        """Every further packet of the client; its pings are answered."""
        while (packet := self.packet()) is not None:
            if packet.kind == PINGREQ:
                self.send(bytes([PINGRESP << 4, 0]))
            else:
                yield packet

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.sent_bytes += len(data)

    def drip(self, data: bytes, pause_s: float) -> None:
        """Send a byte at a time."""
        for byte in data:
            self.send(bytes([byte]))
            if self.stopping.wait(pause_s):
                return

    def flood(self, kind: int, body_bytes: int, beginning: bytes = b"") -> None:
        """Announce a packet of that size, and send it."""
        self.send(bytes([kind]) + varint(body_bytes) + beginning)
        left = body_bytes - len(beginning)
        while left > 0 and not self.stopping.is_set():
            part = bytes(min(left, 65536))
            self.send(part)
            left -= len(part)

    def accept(self) -> str:
        """Take the greeting, and let the client in; returns its MQTT version."""
        greeting = self.packet()
        assert greeting is not None
        self.send(ACCEPTED[greeting.protocol])
        return greeting.protocol

    def acknowledge(self, packet: Packet) -> None:
        """Answer a SUBSCRIBE or a PUBLISH with QoS 1, in 3.1.1."""
        if packet.kind == SUBSCRIBE:
            self.send(bytes([SUBACK << 4, 3]) + packet.message_id + b"\x01")
        elif packet.kind == PUBLISH and packet.flags & 0b0110:
            self.send(bytes([PUBACK << 4, 2]) + packet.message_id)


Behaviour = Callable[[Peer], None]


@dataclass
class Server:
    """A listening server; what was connected to it stays in `peers`."""

    port: int
    peers: list[Peer] = field(default_factory=list)

    @property
    def sent_bytes(self) -> int:
        return sum(peer.sent_bytes for peer in self.peers)


@contextmanager
def serve(behaviour: Behaviour) -> Iterator[Server]:
    """Run a server on a free loopback port; each connection has a thread of its own."""
    stopping = threading.Event()
    with socket.create_server((HOST, 0)) as listening:
        server = Server(listening.getsockname()[1])
        listening.settimeout(0.02)
        threads: list[threading.Thread] = []

        def handle(peer: Peer) -> None:
            with peer.socket, suppress(OSError, AssertionError):
                behaviour(peer)

        def accept() -> None:
            while not stopping.is_set():
                with suppress(TimeoutError):
                    connected, _ = listening.accept()
                    connected.settimeout(30)
                    server.peers.append(Peer(connected, stopping))
                    threads.append(threading.Thread(target=handle, args=(server.peers[-1],), daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield server
        finally:
            stopping.set()
            accepting.join()
            for peer in server.peers:
                with suppress(OSError):
                    peer.socket.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)


def huge_connack(peer: Peer) -> None:
    """Answers the greeting with 256 MB, before anybody has logged in."""
    peer.packet()
    peer.flood(CONNACK << 4, 256 * MEGABYTE)


def huge_request(peer: Peer) -> None:
    """Lets the client in, and sends 150 MB on the topic that it subscribes to; acknowledges no event."""
    version = peer.accept()
    for packet in peer.packets():
        if packet.kind == SUBSCRIBE:
            topic = b"edge_agent/porch/request/pause"
            beginning = len(topic).to_bytes(2, "big") + topic + (b"\0" if version == "5" else b"")
            peer.flood(PUBLISH << 4 | 1, 150 * MEGABYTE, beginning)
        elif packet.kind != PUBLISH or not packet.topic.endswith("/event"):
            peer.acknowledge(packet)


def silent(peer: Peer) -> None:
    """Reads, and says nothing."""
    for _ in peer.packets():
        pass


def mute(peer: Peer) -> None:
    """Accepts the connection, and does nothing at all."""
    peer.stopping.wait()


def slow_websocket(pause_s: float) -> Behaviour:
    """A websocket's handshake, a byte at a time, that never ends."""

    def behaviour(peer: Peer) -> None:
        peer.socket.recv(4096)
        peer.drip(b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Padding: x\r\n" * 1000, pause_s)

    return behaviour


def endless_websocket(peer: Peer) -> None:
    """A websocket's handshake whose header never ends."""
    peer.socket.recv(4096)
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    while not peer.stopping.is_set():
        peer.send(b"x" * 65536)


def http(status: str, body: bytes = b"<html>") -> Behaviour:
    """A web server that knows of no websocket."""

    def behaviour(peer: Peer) -> None:
        peer.socket.recv(4096)
        peer.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.1)

    return behaviour


def huge_websocket_frame(peer: Peer) -> None:
    """A right handshake, then one frame of 256 MB, full of packets."""
    request = peer.socket.recv(4096)
    key = next(
        line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")
    )
    digest = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
    )
    peer.socket.recv(4096)
    peer.send(b"\x82\x7f" + (256 * MEGABYTE).to_bytes(8, "big") + ACCEPTED["5"])
    for _ in range(256 * MEGABYTE // 65536):
        peer.send(bytes([PINGRESP << 4, 0]) * 32768)


def varint(number: int) -> bytes:
    """A length, as MQTT writes it."""
    encoded = b""
    while True:
        number, low = divmod(number, 128)
        encoded += bytes([low | (128 if number else 0)])
        if not number:
            return encoded


def _first_packet(buffered: bytes) -> tuple[Packet, bytes] | None:
    length = shift = 0
    for position, byte in enumerate(buffered[1:6], 1):
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            end = position + 1 + length
            if len(buffered) < end:
                return None
            packet = Packet(buffered[0] >> 4, buffered[0] & 0x0F, buffered[position + 1 : end])
            return packet, buffered[end:]
    return None

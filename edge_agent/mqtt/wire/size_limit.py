"""Learns how large a message may be where the broker does not say so, but hangs up."""

from __future__ import annotations

from edge_agent.mqtt.contract.message import Message
from edge_agent.system.clock import Clock

_SUSPICIOUS_BYTES = 16 * 1024  # smaller messages are never blamed: no broker refuses those
_SUSPICIOUS_S = 2.0
_TIMES = 3
_FORGET_S = 3600.0


class SizeLimit:
    """MQTT 3.1.1 has no way to refuse a large message: the broker ends the connection instead.

    When that has happened three times in a row right after a large message, messages of its size are not sent
    any more; after an hour they are tried again. Used by the publisher's thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._largest: int | None = None
        self._largest_s = 0.0
        self._blamed = 0
        self._limit: int | None = None
        self._limit_s = 0.0

    def allows(self, message: Message) -> bool:
        """Whether a message of this size may be sent; true until the broker has shown otherwise."""
        if self._limit is not None and self._clock.monotonic_s() - self._limit_s >= _FORGET_S:
            self._limit = None
        return self._limit is None or len(message.payload) < self._limit

    def sent(self, message: Message) -> None:
        """Note a message that was sent."""
        if self.is_large(message):
            self._largest, self._largest_s = len(message.payload), self._clock.monotonic_s()

    @staticmethod
    def is_large(message: Message) -> bool:
        """Whether its size can be why a broker hangs up."""
        return len(message.payload) >= _SUSPICIOUS_BYTES

    def lost(self) -> None:
        """Note that the connection was lost."""
        is_recent = self._clock.monotonic_s() - self._largest_s <= _SUSPICIOUS_S
        if self._largest is None or not is_recent:
            self._blamed = 0
            return
        self._blamed += 1
        if self._blamed >= _TIMES:
            self._limit, self._limit_s = self._largest, self._clock.monotonic_s()
            self._blamed = 0
        self._largest = None

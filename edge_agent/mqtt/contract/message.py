"""Messages, as they are sent and received."""

from __future__ import annotations

from typing import Literal

from edge_agent.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One message to send."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = False
    correlation: bytes | None = None
    """MQTT 5 correlation data; not sent with 3.1.1."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message received."""

    topic: str
    payload: bytes
    retained: bool
    """Whether it was waiting at the broker when we subscribed."""
    response_topic: str = ""
    """Where an MQTT 5 requester expects the answer; empty for the usual place."""
    correlation: bytes | None = None

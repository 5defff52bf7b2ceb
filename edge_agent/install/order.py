"""What the process that fetches a bundle is told, and what it and the one that tries it take."""

from __future__ import annotations

from edge_agent.lean_dataclass import dataclass

MEMORY_MB = 24.0
"""What that process takes at most."""

REHEARSAL_MB = 45.0
"""What running a model on a picture takes in a process of its own, without the model."""

RESERVE_BYTES = 64 << 20
"""What an installation leaves free on the disk: a full card stops more than the agent."""

_SILENCE_S = 30.0
_LEAST_BYTES_A_SECOND = 16_000
_LEAST_S = 120.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched, and where to."""

    url: str
    sha256: str
    bytes: int
    directory: str
    """An empty one: the bundle's files come into `files` in it."""
    ca_file: str = ""
    """The authority that signed the server's certificate; empty for the system's own list."""
    silence_s: float = _SILENCE_S
    """A server that sends nothing for so long has gone."""
    longest_s: float = 0.0
    """So long it may take at most; 0: what a slow line needs for these bytes."""


def longest_s(order: Order) -> float:
    """How long fetching may take at most, in seconds."""
    return order.longest_s or _LEAST_S + order.bytes / _LEAST_BYTES_A_SECOND

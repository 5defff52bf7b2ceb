"""Says whether an agent is worse with another model, by what it says of itself. Does no I/O."""

from __future__ import annotations

from edge_agent.lean_dataclass import dataclass

UNKNOWN_POINTS = 10.0
"""So much may the share of unknown frames rise, in points of a hundred."""

START_S = 180.0
"""So long an agent may take to start with another model and to classify its first frame."""

MOST_STARTS = 3
"""So often a trial may begin: whoever cut the power meant no harm, but a model may also end the agent."""


@dataclass(frozen=True, slots=True)
class Wellbeing:
    """How an agent is; empty or None for what is not known."""

    camera: str = ""
    memory: str = ""
    """`ok`, `soft` or `hard`."""
    unknown_percent: float | None = None


def objections(before: Wellbeing, now: Wellbeing) -> list[str]:
    """Why the agent is worse; empty where it is not."""
    found = []
    if before.camera == "running" and now.camera not in ("running", "paused"):
        found.append(f"camera {now.camera}")
    if now.memory == "hard" and before.memory != "hard":
        found.append("memory above its budget")
    shares = before.unknown_percent, now.unknown_percent
    if None not in shares and shares[1] > shares[0] + UNKNOWN_POINTS:  # type: ignore[operator]
        found.append(f"unknown rose from {shares[0]:.0f} to {shares[1]:.0f} %")
    return found

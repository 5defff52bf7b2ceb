"""What torch would take for the same work: measured, as the README has it, not run by the demo."""

from __future__ import annotations

from dataclasses import dataclass

MEASURED_WITH = "ResNet-18, x86-64, torch 2.14, by `edge-agent bench`"


@dataclass(frozen=True, slots=True)
class Row:
    """A way to run the network."""

    what: str
    rss_mb: int
    """Resident memory (VmRSS) of the process."""


TORCH = (
    Row("eager FP32, as tutorials write it", 751),
    Row("TorchScript FP32", 599),
    Row("TorchScript after `.half()`", 772),
    Row("TorchScript, weights stored as FP16", 336),
)


def comparison(agent_mb: float, engine: str) -> list[str]:
    """The lines of a table with the agent's memory, just measured, beside torch's."""
    rows = [
        (f"this agent, the whole process ({engine})", agent_mb),
        *((row.what, row.rss_mb) for row in TORCH),
    ]
    widest = max(len(what) for what, _ in rows)
    lines = [f"  {'resident memory':<{widest}}      MB", f"  {'-' * (widest + 8)}"]
    lines += [f"  {what:<{widest}}  {rss_mb:>6.0f}" for what, rss_mb in rows]
    return [*lines, f"  (torch: not run now; {MEASURED_WITH})"]

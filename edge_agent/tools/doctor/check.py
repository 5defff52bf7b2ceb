"""One finding of the doctor, and how findings are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edge_agent.system.text import printable

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """A subject, its state, and the advice where something is wrong."""

    name: str
    verdict: Verdict
    """`fail`: the agent cannot do its work. `warn`: it can, but slower, or not for long."""
    found: str
    advice: str = ""
    """Empty where all is well."""


def ok(name: str, found: str) -> Check:
    return Check(name, "ok", found)


def warn(name: str, found: str, advice: str) -> Check:
    return Check(name, "warn", found, advice)


def fail(name: str, found: str, advice: str) -> Check:
    return Check(name, "fail", found, advice)


def text(checks: Iterable[Check]) -> str:
    """A line for each check, its advice on a line of its own."""
    lines: list[str] = []
    for check in checks:
        lines.append(f"{check.verdict:<4}  {check.name}: {printable(check.found)}")
        if check.advice:
            lines.append(f"      -> {check.advice}")
    return "\n".join(lines)

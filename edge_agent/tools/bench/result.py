"""The result of a bench, row by row, and the rows that form the frontier of memory against latency."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from edge_agent.tools.measure.runs import Agreement, Summary

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that was measured."""

    board: str
    cpu: str
    cores: int
    system: str
    python: str
    libraries: tuple[str, ...]
    """Names with versions, `torch 2.10.0`."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """One row of the table: measured, or the reason why not."""

    name: str
    artifact_mb: float | None
    """Size of the files that are loaded; None where there are none, or it is not known."""
    summary: Summary | None
    agreement: Agreement | None
    absent: str = ""
    """Why there is no summary; empty where there is one."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The whole run."""

    created: datetime
    machine: Machine
    model: str
    model_sha256: str
    weights: str
    """Where the weights come from; agreement of random weights says little."""
    reference: str
    """The row that the others' answers are compared with."""
    pictures: int
    repeats: int
    frames: int
    rows: tuple[RowResult, ...]
    pictures_skipped: int = 0
    """How many more could not be read."""

    @property
    def measured(self) -> tuple[tuple[RowResult, Summary], ...]:
        """The rows that could be measured."""
        return tuple((row, row.summary) for row in self.rows if row.summary is not None)

    def to_json(self) -> str:
        whole: dict[str, Any] = {"schema": SCHEMA} | asdict(self) | {"created": self.created.isoformat()}
        whole["frontier"] = [row.name for row, _ in frontier(self.measured)]
        return json.dumps(whole, indent=2) + "\n"


def frontier(rows: Sequence[tuple[RowResult, Summary]]) -> tuple[tuple[RowResult, Summary], ...]:
    """The rows that no other beats in both steady memory and median latency, the leanest first.

    A row whose answers are wrong (top-1 agreement below 99 %) is not on it, however fast it is.
    """
    right = [pair for pair in rows if pair[0].agreement is None or pair[0].agreement.top1 >= 0.99]
    by_memory = sorted(right, key=lambda pair: (pair[1].steady_mb.median, pair[1].latency_p50_ms.median))
    best: list[tuple[RowResult, Summary]] = []
    for pair in by_memory:
        if not best or pair[1].latency_p50_ms.median < best[-1][1].latency_p50_ms.median:
            best.append(pair)
    return tuple(best)

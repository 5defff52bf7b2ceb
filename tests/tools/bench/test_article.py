"""The article's methods beside its claims, in one table."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from edge_agent.tools.bench.article import article_table
from edge_agent.tools.bench.result import RowResult
from edge_agent.tools.bench.rows import EAGER_HALF, NAIVE_HALF, TORCHSCRIPT
from edge_agent.tools.train.probe import Probe
from tests.tools.bench.results import EAGER, LEAN, RESULT, row


def test_each_method_stands_beside_its_claim_and_what_is_missing_says_why() -> None:
    absent = RowResult(EAGER_HALF, None, None, None, absent="torch is not installed")
    rows = (EAGER, row(TORCHSCRIPT, 599, 12.6), absent, row(NAIVE_HALF, 772, 911), LEAN)
    plain, blocks = (
        Probe("none", 32, "fp32", 700, 1500, 2.0),
        Probe("blocks", 32, "fp32", 700, 1100, 2.2),
    )
    shown = article_table(replace(RESULT, rows=rows), plain, blocks).splitlines()
    cells = {
        line.split("|")[1].strip(): [each.strip() for each in line.split("|")[2:5]] for line in shown[2:9]
    }
    assert cells["1. TorchScript"] == ["210 MB", "599", "12.6 ms"]
    assert cells["3. FP16, by `.half()`"][1] == "not measured"
    assert cells["1 and 3: TorchScript with FP16"] == ["under 170 MB", "772", "911 ms"]
    checkpointing = cells["2. gradient checkpointing (`--checkpoint blocks`)"]
    assert checkpointing[1:] == ["1100; above the idle process 50% of plain", "2.20 s, +10%"]
    assert "- eager, naive .half(): not measured: torch is not installed" in shown

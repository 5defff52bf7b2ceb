"""What a step of training takes, measured in processes of their own."""

from __future__ import annotations

from itertools import islice

import pytest

pytest.importorskip("torch")

from edge_agent.errors import ModelError
from edge_agent.tools.train.probe import as_table, probes


def test_a_way_is_measured_beside_the_plain_one() -> None:
    found = list(islice(probes("resnet18", [2], lambda _: None), 2))
    assert [each.mode for each in found] == ["none", "stages"]
    assert all(0 < each.idle_mb < each.peak_mb and each.step_s > 0 for each in found)
    shown = as_table(found)
    assert "| 2, fp32, none" in shown
    assert "100%" in shown
    assert "1.8 GB" in shown


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(ModelError, match="no such architecture"):
        next(probes("resnet19", [2], lambda _: None))

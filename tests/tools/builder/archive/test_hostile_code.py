"""Whatever the code of an archive does, it ends soon, takes little, and is refused by name."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from tests.attack.tally import Tally
from tests.tools.builder.archive.hostile import HOSTILE, hostile, mutants, outcome, sample

PATIENCE_S = 20.0
"""Far above what any of it takes."""
MEMORY_MB = 700


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_code_is_refused_by_name(case: str) -> None:
    body, message = HOSTILE[case]
    begin = time.monotonic()
    found = outcome(hostile(body))
    assert re.search(message, found), found
    assert len(found) < 1000
    assert found.isprintable()
    assert time.monotonic() - begin < PATIENCE_S


def test_hostile_code_takes_little_memory() -> None:
    program = [sys.executable, "-m", "tests.tools.builder.archive.hostile"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=True)
    grown, slowest = done.stdout.split()
    assert int(grown) < MEMORY_MB
    assert float(slowest) < PATIENCE_S


def test_the_sample_that_is_damaged_is_sound() -> None:
    assert outcome(sample()) == ""


def test_damaged_code_is_lowered_or_refused() -> None:
    outcomes = [outcome(archive) for _, archive in mutants(range(400))]
    assert "" in outcomes
    assert len(set(outcomes)) > 100


@pytest.mark.attack
def test_code_damaged_by_the_thousand(tally: Tally) -> None:
    begin = time.monotonic()
    outcomes = [outcome(archive) for _, archive in mutants(range(1000, 11_000))]
    assert time.monotonic() - begin < 600
    refused = sum(1 for each in outcomes if each)
    tally.add("TorchScript code", len(outcomes), f"{refused} refused by name, the others lowered")

"""Whatever the code of an archive does, it ends soon, takes little, and is refused by name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.attack.tally import Tally
from tests.tools.builder.symbolic.hostile import HOSTILE, mutants, outcome, sample

PATIENCE_S = 20.0
"""Far above what any of it takes."""
MEMORY_MB = 500


@pytest.fixture(scope="module")
def tried() -> dict[str, Any]:
    """What `hostile` prints, run in a process of its own."""
    program = [sys.executable, "-m", "tests.tools.builder.symbolic.hostile"]
    done = subprocess.run(program, stdout=subprocess.PIPE, timeout=300, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_code_is_refused_by_name(case: str, tried: dict[str, Any]) -> None:
    message, seconds = tried["found"][case]
    assert re.search(HOSTILE[case][1], message), message
    assert len(message) < 1000
    assert message.isprintable()
    assert seconds < PATIENCE_S


def test_hostile_code_takes_little_memory(tried: dict[str, Any]) -> None:
    assert tried["grown"] < MEMORY_MB


def test_the_sample_that_is_damaged_is_sound() -> None:
    assert outcome(sample()) == ""


def test_damaged_code_is_lowered_or_refused() -> None:
    outcomes = [outcome(archive) for _, archive in mutants(range(400))]
    assert "" in outcomes
    assert len(set(outcomes)) > 100


@pytest.mark.attack
def test_code_damaged_by_the_thousand(tally: Tally) -> None:
    outcomes = [outcome(archive) for _, archive in mutants(range(1000, 11_000))]
    refused = sum(1 for each in outcomes if each)
    tally.add(
        "code of TorchScript files, words and expressions exchanged",
        len(outcomes),
        f"{refused:,} refused by name, {len(outcomes) - refused:,} lowered",
    )

"""A training stays inside its budget of memory: by a plan that was measured, and by looking at every step."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch")

from edge_agent.cli import main
from edge_agent.errors import ModelError
from edge_agent.memory.procfs import MemoryUse
from edge_agent.tools.train.budget import Guard, Kind, choose
from edge_agent.tools.train.loop import Recipe
from edge_agent.tools.train.probe import Probe
from edge_agent.tools.train.recompute import Checkpoint
from tests.tools.train.scenes import render

NOW = MemoryUse(500, 300, 200, 520)
MODES: tuple[Checkpoint, ...] = ("none", "blocks")


def measure(kinds: Sequence[Kind]) -> list[Probe]:
    """100 MB, and 20 for each picture, or 10 that takes 15 % longer."""
    cost_mb, step_s = {"none": 20, "blocks": 10}, {"none": 0.1, "blocks": 0.115}
    return [
        Probe(mode, pictures, "fp32", 400, 500 + cost_mb[mode] * pictures, step_s[mode] * pictures)
        for mode, pictures in kinds
    ]


@pytest.mark.parametrize(
    ("budget_mb", "accumulate", "checkpoint"),
    [(1300, 1, "none"), (1200, 1, "blocks"), (900, 2, "blocks"), (640, 16, "blocks")],
)
def test_the_plan_computes_again_before_it_divides_a_step(
    budget_mb: float, accumulate: int, checkpoint: str
) -> None:
    chosen = choose(budget_mb, Recipe("resnet18", "none"), MODES, NOW, measure)
    assert (chosen.plan.accumulate, chosen.plan.checkpoint) == (accumulate, checkpoint)
    assert chosen.plan.peak_mb <= budget_mb
    assert chosen.asked.peak_mb == pytest.approx(1262, abs=1)
    cost = re.search(r"so it costs (\d+)% more time", chosen.text(budget_mb, 32))
    assert cost
    assert cost[1] == ("0" if checkpoint == "none" else "15")


def test_a_budget_that_is_too_small_is_refused_with_the_least_that_would_do() -> None:
    recipe = Recipe("resnet18", "none")
    with pytest.raises(ModelError, match=r"the least that would do is (\d+) MB") as refused:
        choose(600, recipe, MODES, NOW, measure)
    least = re.search(r"do is (\d+)", str(refused.value))
    assert least
    assert choose(float(least[1]), recipe, MODES, NOW, measure).plan.accumulate == 16


def test_fewer_pictures_are_taken_where_the_memory_between_steps_grows() -> None:
    uses = [(500, 500), (550, 880), (550, 880), (640, 880), (640, 880), (950, 950), (950, 950)]
    read = iter([MemoryUse(rss, rss, 0, peak) for rss, peak in uses])
    trimmed: list[None] = []
    guard = Guard(900, 32, lambda: next(read), lambda: trimmed.append(None))
    assert [guard.most() for _ in range(3)] == [32, 32, 32]
    assert guard.most() == 16  # 640 and a rise of 330
    assert trimmed == [None]
    with pytest.raises(ModelError, match="a larger budget"):
        guard.most()


def test_a_training_says_its_plan_or_what_it_would_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = render(tmp_path / "gate", days=3, shots=2)
    command = ["train", str(root), "--arch", "shufflenet_v2_x0_5", "--weights", "none", "--size", "32"]
    assert main([*command, "--memory-budget", "50", "--output", str(tmp_path / "model")]) == 1
    assert re.search(r"the least that would do is \d+ MB", capsys.readouterr().err)


RUNS, STEP_MB = 20, 3


@pytest.mark.train
@pytest.mark.timeout(1800)
def test_the_budget_is_held_in_twenty_of_twenty_runs(tmp_path: Path) -> None:
    root = render(tmp_path / "gate", days=5, shots=8)
    network = ["--arch", "resnet18", "--weights", "none", "--size", "64"]
    command = ["train", str(root), *network, "--batch", "16", "--epochs", "1"]
    said = run([*command, "--memory-budget", "100"], tmp_path / "least")[1]
    found = re.search(r"the least that would do is (\d+) MB", said)
    assert found, said
    budgets_mb = [int(found[1]) + STEP_MB * number for number in range(RUNS)]
    peaks_mb = []
    for budget_mb in budgets_mb:
        output = tmp_path / f"model-{budget_mb}"
        peak_mb, said = run([*command, "--memory-budget", str(budget_mb)], output)
        assert (output / "model.json").is_file(), said
        plan = re.search(r"--accumulate \d+\), --checkpoint \w+: at most \d+ MB", said)
        print(f"budget {budget_mb} MB, peak {peak_mb:.0f} MB, {plan and plan[0]}", flush=True)
        peaks_mb.append(peak_mb)
    beyond = [pair for pair in zip(budgets_mb, peaks_mb, strict=True) if pair[1] > pair[0]]
    assert not beyond


def run(command: list[str], output: Path) -> tuple[float, str]:
    """A training in a process of its own; its peak of resident memory in MB, and what it said."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _IN_A_PROCESS, *command, "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
    )
    peak = re.search(r"^peak (\d+\.\d+)$", done.stdout, re.MULTILINE)
    return float(peak[1]) if peak else math.inf, done.stdout + done.stderr


_IN_A_PROCESS = """
import sys
from edge_agent.cli import main
from edge_agent.memory.procfs import read_memory
main(sys.argv[1:])
print(f"peak {read_memory().peak_mb:.1f}")
"""

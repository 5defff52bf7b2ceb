"""A training stays inside its budget of memory: by a plan that was measured, and by looking at every step."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

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


RUNS = 20


@pytest.mark.train
@pytest.mark.timeout(1800)
def test_the_budget_is_held_in_twenty_of_twenty_runs(tmp_path: Path) -> None:
    root = render(tmp_path / "gate", days=5, shots=12)
    command = ["train", str(root), "--arch", "resnet18", "--weights", "none", "--size", "96", "--epochs", "2"]
    said = run([*command, "--memory-budget", "100"], tmp_path / "least")[1]
    found = re.search(r"the least that would do is (\d+) MB", said)
    assert found, said
    least_mb = int(found[1])
    for number in range(RUNS):
        budget_mb = least_mb + 15 * number
        peak_mb, said = run([*command, "--memory-budget", str(budget_mb)], tmp_path / f"model-{number}")
        assert (tmp_path / f"model-{number}" / "model.json").is_file(), said
        print(f"budget {budget_mb} MB, peak {peak_mb:.0f} MB: {said[said.index('within') :].splitlines()[0]}")
        assert peak_mb <= budget_mb, said


def run(command: list[str], output: Path) -> tuple[float, str]:
    """A training in a process of its own; its peak of resident memory in MB, and what it said."""
    log = output.with_suffix(".log")
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            torch.set_num_threads(1)
            main([*command, "--output", str(output)])
            os.write(writing, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        peak = pipe.read()
    os.waitpid(child, 0)
    return float(peak or "inf"), log.read_text()

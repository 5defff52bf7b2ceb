"""A training that is interrupted ends as one that is not, and judges itself by what it has never seen."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from edge_agent.cli import main
from edge_agent.errors import ModelError
from edge_agent.model.sidecar import read_sidecar
from edge_agent.tools.train.bursts import bursts_of, split
from edge_agent.tools.train.dataset import labels_of, read_dataset
from edge_agent.tools.train.judge import judge, temperature_of, threshold_of
from edge_agent.tools.train.loop import (
    InterruptedTrainingError,
    Progress,
    Recipe,
    Sets,
    Training,
    schedule,
    weights_of,
)
from edge_agent.tools.train.network import make_trainee, set_scope
from edge_agent.tools.train.pictures import store, varied
from tests.tools.train.scenes import render, scene

RECIPE = Recipe("shufflenet_v2_x0_5", "none", epochs=3, batch=8, average=True)
LONGER = Recipe("shufflenet_v2_x0_5", "none", epochs=150, batch=8, patience=1000, average=True)


def train(
    root: Path, folder: Path, recipe: Recipe = RECIPE, is_stopped: Callable[[], bool] = lambda: False
) -> tuple[Progress, dict[str, torch.Tensor]]:
    folder.mkdir(exist_ok=True)
    items = read_dataset(root)
    labels = labels_of(items)
    made = split(items, bursts_of(items), recipe.seed)
    torch.manual_seed(recipe.seed)
    trainee = make_trainee(recipe.arch, "none", 32, labels, lambda _: None)
    pictures = store(items, trainee.preprocessing, folder / "pictures")
    truth = np.array([labels.index(item.label) for item in items], np.intp)
    sets = Sets(pictures, truth, made.learn, made.tune)
    progress = Training(trainee, recipe, sets, folder, repr(recipe), lambda _: None, is_stopped).run()
    pictures.close()
    return progress, trainee.module.state_dict()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("set") / "gate", days=5, shots=4)


def test_a_training_that_was_stopped_after_every_step_ends_as_one_that_was_not(
    root: Path, tmp_path: Path
) -> None:
    whole, weights = train(root, tmp_path / "whole")
    for attempt in itertools.count(1):
        try:
            pieces, same = train(root, tmp_path / "pieces", is_stopped=lambda: True)
            break
        except InterruptedTrainingError:
            assert attempt < 20
    assert pieces == whole
    assert len(whole.losses) == 9
    assert all(torch.equal(same[name], value) for name, value in weights.items())


def test_the_state_of_another_recipe_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedTrainingError):
        train(root, tmp_path / "one", is_stopped=lambda: True)
    with pytest.raises(ModelError, match="of another set or another recipe; remove"):
        train(root, tmp_path / "one", Recipe("shufflenet_v2_x0_5", "none", epochs=4, batch=8))


def test_a_picture_is_varied_in_light_and_place_but_never_mirrored() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, :20] = 200
    for seed in range(20):
        seen = varied(picture, 32, np.random.default_rng(seed)).astype(int)
        assert seen.shape == (32, 32, 3)
        assert seen[:, :8].mean() > seen[:, 24:].mean() + 50


def test_a_picture_is_varied_in_light_and_at_times_without_colour() -> None:
    picture = np.full((40, 40, 3), (40, 120, 200), np.uint8)
    seen = [varied(picture, 32, np.random.default_rng(seed)).astype(int) for seed in range(200)]
    light = [each.mean() for each in seen]
    assert min(light) < 0.8 * picture.mean() < 1.2 * picture.mean() < max(light)
    grey = sum(abs(each[..., 2].mean() - each[..., 0].mean()) < 40 for each in seen)
    assert 5 < grey < 50


@pytest.mark.parametrize("arch", ["mnasnet0_5", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_the_statistics_of_batch_norm_follow_the_few_steps_that_there_are(arch: str) -> None:
    trainee = make_trainee(arch, "none", 64, ("a", "b"), lambda _: None)
    set_scope(trainee, "head")
    before = [each.momentum for each in trainee.module.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    set_scope(trainee, "all")
    after = [each.momentum for each in trainee.module.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert after == [max(momentum or 0, 0.1) for momentum in before]


def test_the_rate_rises_and_falls_by_a_cosine() -> None:
    shares = [schedule(step, 100) for step in range(100)]
    assert shares[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert shares[5] == 1.0
    assert all(one > other for one, other in itertools.pairwise(shares[5:]))
    assert schedule(52, 100) == pytest.approx(0.5, abs=0.02)
    assert shares[-1] < 0.001


def test_a_label_with_few_pictures_counts_more_by_the_root() -> None:
    few, many = weights_of(np.array([1] * 9 + [0]))
    assert few / many == pytest.approx(3)


def test_labels_are_smoothed(root: Path, tmp_path: Path) -> None:
    losses = []
    for smoothing in (0.0, 0.2, 0.4):
        recipe = replace(RECIPE, scope="head", epochs=1, smoothing=smoothing)
        losses.append(train(root, tmp_path / str(smoothing), recipe)[0].losses[0])
    assert losses[0] != losses[2]
    assert losses[1] == pytest.approx((losses[0] + losses[2]) / 2, rel=1e-4)


def test_it_ends_early_where_nothing_gets_better(root: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, scope="head", rate=1e-30, epochs=50, patience=2)
    progress, _ = train(root, tmp_path / "still", recipe)
    assert (len(progress.tuned), progress.best_epoch) == (3, 0)


def test_answers_that_are_too_sure_are_cooled_and_a_threshold_keeps_most_right_ones() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 600)
    logits = random.normal(0, 1, (600, 3))
    logits[np.arange(600), truth] += 1.5
    over = (logits * 8).astype(np.float32)
    temperature = temperature_of(over, truth)
    assert 4 < temperature < 10
    threshold = threshold_of(over, truth, temperature)
    assert 0.3 < threshold < 0.9
    judged = judge(over, truth, [str(i % 10) for i in range(600)], ("a", "b", "c"))
    assert judged.low < judged.accuracy < judged.high
    assert sum(map(sum, judged.confusion)) == 600
    assert judged.bursts == 10


def test_a_set_becomes_a_model_that_the_agent_reads(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--weights", "none", "--size", "32", "--epochs", "2", "--batch", "12", "--accumulate", "2"]
    command = ["train", str(root), "--arch", "resnet18", "--checkpoint", "blocks", *options, "--json"]
    output = tmp_path / "model"
    assert main([*command, "--output", str(output)]) == 0
    judged = json.loads(capsys.readouterr().out)
    artifact = read_sidecar(output)
    assert artifact.sidecar.labels == ("closed", "open")
    assert artifact.sidecar.temperature == judged["temperature"]
    assert "xnnpack-fp16" in artifact.sidecar.files
    assert judged["judgement"]["pictures"] == 8
    assert not (tmp_path / "model.training").exists()
    picture = tmp_path / "one.png"
    from PIL import Image

    Image.fromarray(scene("open", 40, 0)).save(picture)
    assert main(["classify", "--model", str(output), "--json", str(picture)]) == 0
    assert {"closed", "open"} == {each["label"] for each in json.loads(capsys.readouterr().out)["top"]}


def test_training_in_bf16_goes_as_in_fp32_and_keeps_its_weights_in_it(root: Path, tmp_path: Path) -> None:
    exact, _ = train(root, tmp_path / "fp32", replace(RECIPE, epochs=1))
    rounded, weights = train(root, tmp_path / "bf16", replace(RECIPE, epochs=1, precision="bf16"))
    assert rounded.losses != exact.losses
    assert rounded.losses[0] == pytest.approx(exact.losses[0], rel=0.05)  # later ones go apart
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}


def test_training_in_fp16_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path), "--precision", "fp16", "--output", str(tmp_path / "m")]) == 2
    assert "small gradients become 0" in capsys.readouterr().err


@pytest.mark.train
@pytest.mark.timeout(1500)
def test_a_training_that_is_killed_at_random_ends_as_one_that_was_not(root: Path, tmp_path: Path) -> None:
    whole, weights = train(root, tmp_path / "whole", LONGER)
    random = np.random.default_rng(7)
    (tmp_path / "killed").mkdir()
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-P", "-c", _IN_A_PROCESS, root, tmp_path / "killed"]
        ) as process:
            waited_s = 0.0
            while not (tmp_path / "killed" / "pictures").exists() and waited_s < 60:
                time.sleep(0.1)
                waited_s += 0.1
            time.sleep(float(random.uniform(2.0, 8.0)))
            process.kill()
    same_losses, same = train(root, tmp_path / "killed", LONGER)
    assert same_losses == whole
    assert all(torch.equal(same[name], value) for name, value in weights.items())


_IN_A_PROCESS = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.tools.train.test_loop import LONGER, train
train(Path(sys.argv[1]), Path(sys.argv[2]), LONGER)
"""

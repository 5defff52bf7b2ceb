"""A training starts from a built model: the network answers as the model does, and can learn again."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from edge_agent.cli import main
from edge_agent.errors import ModelError
from edge_agent.model.sidecar import read_sidecar
from edge_agent.tools.builder.architectures import find_architecture
from edge_agent.tools.builder.build import BuildOptions, build
from edge_agent.tools.builder.input_options import InputOptions
from edge_agent.tools.train.kept import read_kept, settle
from edge_agent.tools.train.network import arch_of, make_trainee
from tests.tools.builder.networks import network

PICTURES = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def original() -> nn.Module:
    return network("mobilenet_v2", classes=3)


@pytest.fixture(scope="module")
def model(original: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of the network, for the labels a, b and c."""
    folder = tmp_path_factory.mktemp("kept")
    torch.save(original.state_dict(), folder / "weights.pth")
    (folder / "labels.txt").write_text("a\nb\nc\n")
    options = BuildOptions(
        folder / "model",
        "mobilenet_v2",
        folder / "weights.pth",
        folder / "labels.txt",
        taken=InputOptions(size=64, mean=(0.4, 0.5, 0.6)),
    )
    return build(options, lambda _: None).directory


def answers(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = module.eval()(PICTURES)
    return found


def test_the_network_answers_as_the_model_and_so_it_does_with_its_batch_norm_settled(
    original: nn.Module, model: Path
) -> None:
    trainee = make_trainee("mobilenet_v2", str(model), None, ("a", "b", "c"), lambda _: None)
    assert trainee.preprocessing == read_sidecar(model).sidecar.preprocessing
    assert "the model mobilenet_v2" in trainee.start
    expected = answers(original)
    torch.testing.assert_close(answers(trainee.module), expected, rtol=1e-3, atol=1e-3)
    settle(trainee.module, dict(trainee.norms), [PICTURES[:4], PICTURES[4:]])
    torch.testing.assert_close(answers(trainee.module), expected, rtol=1e-3, atol=1e-3)
    with torch.no_grad():  # in training mode it sees the statistics of these pictures, which it now has
        learning = trainee.module.train().get_submodule("features.0")(PICTURES)
        still = trainee.module.eval().get_submodule("features.0")(PICTURES)
    torch.testing.assert_close(learning, still, rtol=1e-2, atol=1e-2)


def test_labels_that_the_model_knows_keep_their_rows_and_others_are_new(
    original: nn.Module, model: Path
) -> None:
    trainee = make_trainee("mobilenet_v2", str(model), 96, ("c", "new"), lambda _: None)
    old = original.get_submodule("classifier.1")
    assert isinstance(old, nn.Linear)
    torch.testing.assert_close(trainee.last.weight[0], old.weight[2])
    torch.testing.assert_close(trainee.last.bias[0], old.bias[2])
    assert trainee.last.weight.shape == (2, old.in_features)
    assert (trainee.preprocessing.crop, trainee.preprocessing.mean) == (96, (0.4, 0.5, 0.6))


def test_the_architecture_is_the_models(model: Path) -> None:
    assert arch_of("", "own") == "resnet18"
    assert arch_of("", str(model)) == arch_of("mobilenet_v2", str(model)) == "mobilenet_v2"
    with pytest.raises(ModelError, match="is mobilenet_v2"):
        arch_of("resnet18", str(model))


def test_a_network_that_is_not_the_models_is_refused_with_the_layer(model: Path) -> None:
    with pytest.raises(ModelError, match=r"it has no layer conv1; begin with the file"):
        read_kept(model).into(find_architecture("resnet18").make(3), "fc", ("a", "b", "c"), 64)


def test_batch_norm_that_follows_no_convolution_cannot_be_made_again(model: Path) -> None:
    with pytest.raises(ModelError, match="norm1 follows no convolution"):
        read_kept(model).into(find_architecture("densenet121").make(3), "classifier", "abc", 64)


def test_a_damaged_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.json").write_text("{}")
    command = ["train", str(tmp_path), "--weights", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "model.json" in capsys.readouterr().err

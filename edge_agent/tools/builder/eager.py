"""An eager network with its weights: a model is built from it, and verified against it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import WeightsOrigin
from edge_agent.system import paths
from edge_agent.tools import Report
from edge_agent.tools.builder.architectures import Architecture, class_count, find_architecture
from edge_agent.tools.builder.pretrained import given, obtain
from edge_agent.tools.builder.state_dict import load_into, read_state_dict

if TYPE_CHECKING:
    from torch import nn

    from edge_agent.tools.builder.script import InputShape


@dataclass(frozen=True, slots=True)
class Network:
    """A classifier in PyTorch, in eval mode, with trained weights: FP32, batch norm not folded."""

    architecture: Architecture
    module: nn.Module
    classes: int
    origin: WeightsOrigin

    @property
    def shape(self) -> InputShape:
        """The shape of the input as the engines take it: (1, height, width, 3)."""
        crop = self.architecture.preprocessing.crop
        return (1, crop, crop, 3)


def load_network(arch: str, weights: Path | None, report: Report) -> Network:
    """Return the network of that architecture with the weights of a file, or with its own.

    Downloads are kept in `default_cache()`. Raises ModelError when the architecture is unknown or the weights
    do not fit it, and WeightsUnavailable when its own are not available.
    """
    require_torch()
    architecture = find_architecture(arch)
    found = given(weights) if weights else obtain(architecture.pretrained, default_cache(), report)
    state = read_state_dict(found.path)
    classes = class_count(architecture, state)
    module = architecture.make(classes).eval()
    load_into(module, state, found.path)
    return Network(architecture, module, classes, found.origin)


def require_torch() -> None:
    """Raise ModelError, which says how to install it, where torch cannot be imported."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"this needs torch, which cannot be imported ({error}): pip install 'edge-agent[torch]'"
        ) from error


def default_cache() -> Path:
    """Where downloaded weights are kept."""
    return paths.cache_dir(os.environ) / "weights"

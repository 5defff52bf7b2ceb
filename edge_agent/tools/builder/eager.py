"""An eager network with its weights: a model is built from it, and verified against it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing, WeightsOrigin
from edge_agent.tools import Report
from edge_agent.tools.builder.architectures import (
    Architecture,
    find_architecture,
    make_blank,
)
from edge_agent.tools.builder.heads import Head, Layer, find_head
from edge_agent.tools.builder.input_options import AS_FOR_IMAGENET, InputOptions
from edge_agent.tools.builder.modules import modules_of
from edge_agent.tools.builder.pretrained import default_cache, given, obtain
from edge_agent.tools.builder.state_dict import State, check_fit
from edge_agent.tools.builder.weights import class_count, prepared, rebuilt, take_one_channel

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
    preprocessing: Preprocessing

    @property
    def shape(self) -> InputShape:
        """The shape of the input as the engines take it: (1, height, width, 3)."""
        crop = self.preprocessing.crop
        return (1, crop, crop, 3)


@dataclass(frozen=True, slots=True)
class Fitted:
    """An architecture's network with the weights of a file."""

    module: nn.Module
    classes: int
    has_one_channel: bool
    """Whether it was trained on one channel; it takes three here and looks at the first."""


def load_network(
    arch: str, weights: Path | None, report: Report, taken: InputOptions = AS_FOR_IMAGENET
) -> Network:
    """Return the network of that architecture with the weights of a file, or with its own.

    Downloads are kept in `default_cache()`. Raises ModelError when the architecture is unknown or the weights
    do not fit it, and WeightsUnavailable when its own are not available.
    """
    require_torch()
    architecture = find_architecture(arch, taken.size)
    found = given(weights) if weights else obtain(architecture.pretrained, default_cache(), report)
    network = fit(architecture, found.path, report)
    preprocessing = taken.applied_to(architecture.preprocessing, has_one_channel=network.has_one_channel)
    if weights and (assumed := taken.assumed(preprocessing)):
        report(assumed)
    return Network(architecture, network.module, network.classes, found.origin, preprocessing)


def fit(architecture: Architecture, path: Path, report: Report) -> Fitted:
    """Make the network that the weights in a file are for: with their number of classes, and their head.

    What has to be assumed is reported. Raises ModelError where the weights are not those of the architecture.
    """
    blank = make_blank(architecture)
    own = modules_of(blank.network)
    state = prepared(own.state(), path, report)
    has_one_channel = take_one_channel(state, own.state())
    head = find_head(own, blank.last, state)
    classes = head.classes if head else class_count(architecture.name, blank.last, state)
    module = architecture.make(classes)
    if head:
        module.set_submodule(head.name, _head(head, module.get_submodule(head.name)))
        report(rebuilt(head))
    if has_one_channel and hasattr(module, "transform_input"):
        # It is for three channels, so the network was trained without it.
        setattr(module, "transform_input", False)  # noqa: B010 - Module declares its attributes as tensors
    check_fit(modules_of(module).state(), state, path)
    load_into(module.eval(), state)
    return Fitted(module, classes, has_one_channel)


def load_into(network: nn.Module, state: State) -> None:
    """Put weights that fit into a network; what only training uses may be missing."""
    import torch

    with torch.no_grad():
        for key, own in network.state_dict().items():
            if key in state:
                own.copy_(torch.from_numpy(np.array(state[key])))


def _head(head: Head, own: nn.Module) -> nn.Module:
    layers = OrderedDict((name, _layer(layer, own, name)) for name, layer in head.layers.items())
    from torch import nn

    return layers[""] if "" in layers else nn.Sequential(layers)


def _layer(layer: Layer, own: nn.Module, name: str) -> nn.Module:
    from torch import nn

    match layer.kind:
        case "linear":
            return nn.Linear(layer.inputs, layer.outputs, bias="bias" in layer.weights)
        case "batch norm":
            return nn.BatchNorm1d(layer.inputs, affine="weight" in layer.weights)
        case "layer norm":
            return nn.LayerNorm(layer.inputs)
        case "prelu":
            return nn.PReLU(layer.inputs)
        case "relu":
            return nn.ReLU()
        case "own":
            return own.get_submodule(name)


def require_torch() -> None:
    """Raise ModelError, which says how to install it, where torch cannot be imported."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"this needs torch, which cannot be imported ({error}): pip install 'edge-agent[torch]'"
        ) from error

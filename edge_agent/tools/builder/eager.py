"""An eager network with its weights: a model is built from it, and verified against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing, WeightsOrigin
from edge_agent.tools import Report
from edge_agent.tools.builder.architectures import (
    Architecture,
    find_architecture,
    is_auxiliary,
    make_blank,
)
from edge_agent.tools.builder.heads import find_head
from edge_agent.tools.builder.input_options import AS_FOR_IMAGENET, InputOptions
from edge_agent.tools.builder.pretrained import default_cache, given, obtain
from edge_agent.tools.builder.state_dict import (
    State,
    check_numbers,
    load_into,
    read_state_dict,
    without_prefix,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    state = read_state_dict(path)
    own = blank.network.state_dict()
    state = without_prefix(state, [key for key in own if not is_auxiliary(key)], path, report)
    for key in [key for key in state if is_auxiliary(key)]:
        del state[key]
    check_numbers(state, path)
    has_one_channel = _take_one_channel(state, own)
    head = find_head(blank.network, blank.last, state)
    classes = head.classes if head else blank.class_count(state)
    module = architecture.make(classes)
    if head:
        module.set_submodule(head.name, head.module)
        report(f"rebuilt the head {head.name}" + f"; assumed: {head.assumed}" * bool(head.assumed))
    if has_one_channel and hasattr(module, "transform_input"):
        # It is for three channels, so the network was trained without it.
        setattr(module, "transform_input", False)  # noqa: B010 - Module declares its attributes as tensors
    load_into(module.eval(), state, path)
    return Fitted(module, classes, has_one_channel)


def _take_one_channel(state: State, own: Mapping[str, Tensor]) -> bool:
    """Let a network that was trained on one channel take three, and look at the first alone."""
    first = next((key for key, tensor in own.items() if tensor.ndim == 4 and tensor.shape[1] == 3), "")
    given = state.get(first)
    if given is None or given.shape != (own[first].shape[0], 1, *own[first].shape[2:]):
        return False
    state[first] = given.new_zeros(own[first].shape)
    state[first][:, :1] = given
    return True


def require_torch() -> None:
    """Raise ModelError, which says how to install it, where torch cannot be imported."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"this needs torch, which cannot be imported ({error}): pip install 'edge-agent[torch]'"
        ) from error

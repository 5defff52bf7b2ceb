"""The network to train: its weights to begin with, its new last layer, and what of it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing
from edge_agent.tools import Report
from edge_agent.tools.builder.architectures import find_architecture, make_blank
from edge_agent.tools.builder.eager import load_network
from edge_agent.tools.builder.input_options import InputOptions
from edge_agent.tools.train.recompute import parts_of

Scope = Literal["head", "last", "all"]


@dataclass(frozen=True, slots=True)
class Trainee:
    """A network with a last layer for the labels of a set."""

    module: nn.Module
    last: nn.Linear
    preprocessing: Preprocessing
    start: str
    """Where its weights came from."""


def make_trainee(arch: str, start: str, size: int | None, classes: int, report: Report) -> Trainee:
    """Make it; `start` is `own` for the architecture's own weights, `none`, or a file.

    Raises ModelError, and WeightsUnavailable where its own weights are not available here.
    """
    architecture = find_architecture(arch, size)
    preprocessing = InputOptions(size=size).applied_to(architecture.preprocessing, has_one_channel=False)
    last = make_blank(architecture).last
    if start == "none":
        module, origin = architecture.make(classes), "random weights"
    else:
        weights = None if start == "own" else Path(start)
        loaded = load_network(arch, weights, report, InputOptions(size=size))
        module, origin = loaded.module, loaded.origin.source
    layer = module.get_submodule(last)
    if not isinstance(layer, nn.Linear):
        raise ModelError(f"--arch {arch}: its last layer is not linear: take another one")
    if start != "none":
        layer = nn.Linear(layer.in_features, classes)
        module.set_submodule(last, layer)
    return Trainee(module, layer, preprocessing, origin)


def set_scope(trainee: Trainee, scope: Scope) -> tuple[nn.Module, ...]:
    """Let only a part of it learn; returns the modules that are to be in training mode."""
    learning: tuple[nn.Module, ...] = (trainee.module,)
    if scope == "head":
        learning = (trainee.last,)
    elif scope == "last":
        learning = (*parts_of(trainee.module, "stages")[-1], trainee.last)
    trainee.module.requires_grad_(False)
    trainee.module.eval()
    for module in learning:
        module.requires_grad_(True)
    return learning

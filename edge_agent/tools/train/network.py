"""The network to train: its weights to begin with, its new last layer, and what of it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing, read_sidecar
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder.architectures import Architecture, find_architecture, make_blank
from edge_agent.tools.builder.build import DEFAULT_ARCH
from edge_agent.tools.builder.eager import load_network
from edge_agent.tools.builder.input_options import InputOptions
from edge_agent.tools.builder.subject import TORCHSCRIPT
from edge_agent.tools.train.kept import Kept, is_model, read_kept
from edge_agent.tools.train.recompute import parts_of

Scope = Literal["head", "last", "all"]

_LEAST_MOMENTUM = 0.1
"""Of batch norm's statistics. Some networks come with 0.01 or less, for the thousands of steps of ImageNet: a
training of a few dozen would end with the statistics of the weights that it began with."""


@dataclass(frozen=True, slots=True)
class Trainee:
    """A network with a last layer for the labels of a set."""

    module: nn.Module
    last: nn.Linear
    preprocessing: Preprocessing
    start: str
    """Where its weights came from."""
    norms: Mapping[str, str] = field(default_factory=dict)
    """Batch norm that is to be settled on pictures before it learns: see `kept`."""


def make_trainee(arch: str, start: str, size: int | None, labels: Sequence[str], report: Report) -> Trainee:
    """Make it; `start` is `own` for the architecture's own weights, `none`, a file, or a model directory.

    Raises ModelError and ArtifactError, and WeightsUnavailable where its own weights are not available here.
    """
    architecture = find_architecture(arch, size)
    last = make_blank(architecture).last
    if is_model(start):
        return _of_model(architecture, read_kept(Path(start)), last, size, labels)
    preprocessing = InputOptions(size=size).applied_to(architecture.preprocessing, has_one_channel=False)
    if start == "none":
        module, origin = architecture.make(len(labels)), "random weights"
    else:
        weights = None if start == "own" else Path(start)
        loaded = load_network(arch, weights, report, InputOptions(size=size))
        module, origin = loaded.module, loaded.origin.source
    layer = _linear(module, last, arch)
    if start != "none":
        layer = nn.Linear(layer.in_features, len(labels))
        module.set_submodule(last, layer)
    return Trainee(module, layer, preprocessing, origin)


def _of_model(
    architecture: Architecture, kept: Kept, last: str, size: int | None, labels: Sequence[str]
) -> Trainee:
    taken = kept.artifact.sidecar.preprocessing
    if size is not None:
        resize = size if taken.squash else round(size * taken.resize / taken.crop)
        taken = replace(taken, crop=size, resize=resize)
    module = architecture.make(len(labels))
    layer = _linear(module, last, architecture.name)
    norms = kept.into(module, last, labels, taken.crop)
    return Trainee(module, layer, taken, kept.origin, norms)


def _linear(module: nn.Module, last: str, arch: str) -> nn.Linear:
    layer = module.get_submodule(last)
    if not isinstance(layer, nn.Linear):
        raise ModelError(f"--arch {arch}: its last layer is not linear: take another one")
    return layer


def arch_of(given: str, start: str) -> str:
    """The architecture to train: what was given, else that of the model that is started from, else resnet18.

    Raises ModelError where the two differ, or the model does not say, and ArtifactError.
    """
    if not is_model(start):
        return given or DEFAULT_ARCH
    known = read_sidecar(Path(start)).sidecar.arch
    if known == TORCHSCRIPT and not given:
        raise ModelError(f"--weights {printable(start)}: the model does not say what it is: name its --arch")
    if given and known not in (given, TORCHSCRIPT):
        raise ModelError(f"--arch {given}: the model {printable(start)} is {printable(known)}")
    return given or known


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
        for norm in module.modules():
            if isinstance(norm, _BatchNorm) and norm.momentum is not None:
                norm.momentum = max(norm.momentum, _LEAST_MOMENTUM)
    return learning

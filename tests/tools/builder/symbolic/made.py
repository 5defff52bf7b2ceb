"""Archives that torch writes, and what becomes of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_agent.inference.torchscript import deprecation_unmentioned
from edge_agent.model.plan import Precision, Shape
from edge_agent.model.plan_file import decode_plan, encode_plan
from edge_agent.tools.builder.archive.contents import Archive
from edge_agent.tools.builder.archive.script_file import open_archive
from edge_agent.tools.builder.lowering.blob import Encoded, encode
from edge_agent.tools.builder.lowering.graph import translate
from edge_agent.tools.builder.script import save
from edge_agent.tools.builder.symbolic.translate import translate_archive

SHAPE = (1, 12, 9, 3)


def traced(module: nn.Module, shape: Shape = SHAPE) -> Any:
    """A module in eval mode, traced for a picture of `shape` (NHWC)."""
    _, height, width, channels = shape
    with torch.no_grad(), deprecation_unmentioned(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(  # type: ignore[no-untyped-call]
            module.eval(), torch.zeros(1, channels, height, width), check_trace=False
        )


def scripted(module: nn.Module) -> Any:
    with deprecation_unmentioned():
        return torch.jit.script(module.eval())


def frozen(module: Any, *, folded: bool = True) -> Any:
    """`folded`: torch folds each batch norm into the convolution before it."""
    with deprecation_unmentioned():
        return torch.jit.freeze(module, optimize_numerics=folded)


def saved(module: Any, directory: Path) -> Archive:
    """What torch has written for a module."""
    save(module, directory / "module.pt")
    return open_archive(directory / "module.pt")


@dataclass(frozen=True)
class Lowered:
    """The files of a plan."""

    plan: bytes
    weights: bytes


def _files(encoded: Encoded) -> Lowered:
    return Lowered(encoded.plan_file, b"".join(encoded.weights()))


def by_archive(archive: Archive, shape: Shape = SHAPE, precision: Precision = "fp32") -> Lowered:
    translated = translate_archive(archive, shape)
    return _files(encode(translated.plan, translated.output, precision))


def by_graph(module: Any, shape: Shape = SHAPE, precision: Precision = "fp32") -> Lowered:
    """What torch's own graph of a frozen module becomes."""
    return _files(encode(*translate(module.graph, shape), precision))


def unnamed(lowered: Lowered) -> Lowered:
    """The same plan with operations that do not say where they came from."""
    plan = decode_plan(lowered.plan)
    operations = tuple(replace(operation, name="") for operation in plan.operations)
    return replace(lowered, plan=encode_plan(replace(plan, operations=operations)))

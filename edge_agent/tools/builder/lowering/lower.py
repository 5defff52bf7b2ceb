"""Lowers a frozen TorchScript module to the plans that the xnnpack engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import ArtifactFile
from edge_agent.tools.builder.lowering.blob import encode
from edge_agent.tools.builder.lowering.graph import translate
from edge_agent.tools.builder.lowering.plan_builder import LoweringError

if TYPE_CHECKING:
    import torch

__all__ = ["LoweringError", "lower"]


def lower(
    frozen: torch.jit.ScriptModule,
    *,
    input_shape: tuple[int, int, int, int],
    directory: Path,
    precisions: Sequence[Precision] = ("fp16", "fp32"),
) -> dict[str, tuple[ArtifactFile, ...]]:
    """Write a plan and its weights for each precision, and return them by their role in the sidecar.

    `frozen` is an fp32 module, traced in eval mode with one NCHW picture, then frozen; `input_shape` is that
    picture's as the engine takes it: (1, height, width, channels). Batch norm may be folded already or not.

    Raises LoweringError, naming the operation and the module that it came from, for a network that the engine
    cannot run; nothing is written then.
    """
    builder, output = translate(frozen.graph, input_shape)
    encoded = [encode(builder, output, precision) for precision in precisions]
    return {f"xnnpack-{lowered.precision}": lowered.write(directory) for lowered in encoded}

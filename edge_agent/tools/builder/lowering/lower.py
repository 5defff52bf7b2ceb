"""Lowers a TorchScript module of torch to the plans that the native and the xnnpack engine run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.model.plan import Plan, Precision
from edge_agent.model.sidecar import ArtifactFile
from edge_agent.tools.builder.lowering.blob import encode, plan_of
from edge_agent.tools.builder.lowering.graph import translate
from edge_agent.tools.builder.lowering.plan_builder import LoweringError, PlanBuilder

if TYPE_CHECKING:
    import torch

__all__ = ["Lowered", "LoweringError", "lower"]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A network as the operations of a plan, with its weights in FP32."""

    builder: PlanBuilder
    output: int
    """The tensor with the logits."""

    @property
    def classes(self) -> int:
        """The number of its logits."""
        return int(self.builder.tensors[self.output].shape[-1])

    @property
    def parameters(self) -> int:
        """The number of its weights."""
        return sum(values.size for values in self.builder.constants.values())

    def plan(self) -> Plan:
        """Return its plan, in FP32."""
        return plan_of(self.builder, self.output, "fp32")

    def write(
        self, directory: Path, precisions: Sequence[Precision] = ("fp16", "fp32")
    ) -> dict[str, tuple[ArtifactFile, ...]]:
        """Write a plan and its weights for each precision, and return them by their role in the sidecar.

        Raises LoweringError where a precision cannot hold a weight; nothing is written then.
        """
        encoded = [encode(self.builder, self.output, precision) for precision in precisions]
        return {f"xnnpack-{one.plan.precision}": one.write(directory) for one in encoded}


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
    return Lowered(*translate(frozen.graph, input_shape)).write(directory, precisions)

"""A lowered network as files: its plan, and its weights in one precision."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.model.plan import ALIGNMENT, BYTES_PER_ELEMENT, DTYPES, Plan, PlanError, Precision
from edge_agent.model.plan_file import encode_plan
from edge_agent.model.sidecar import ArtifactFile
from edge_agent.tools.builder.lowering.plan_builder import Array, LoweringError, PlanBuilder


@dataclass(frozen=True, slots=True)
class Lowered:
    """The contents of a plan file and of its weights file."""

    precision: Precision
    plan: bytes
    weights: bytes

    def write(self, directory: Path) -> tuple[ArtifactFile, ArtifactFile]:
        """Write `xnnpack-<precision>.plan.json` and `xnnpack-<precision>.weights`; return both."""
        stem = directory / f"xnnpack-{self.precision}"
        return _write(Path(f"{stem}.plan.json"), self.plan), _write(Path(f"{stem}.weights"), self.weights)


def encode(builder: PlanBuilder, output: int, precision: Precision) -> Lowered:
    """Return what to write for a network whose result is tensor `output`. Raises LoweringError."""
    plan = _plan(builder, output, precision)
    weights = bytearray(plan.weights_bytes)
    for identifier, values in builder.constants.items():
        stored = _stored(values, precision)
        begin = plan.tensors[identifier].offset or 0
        weights[begin : begin + stored.nbytes] = stored.tobytes()
    try:
        return Lowered(precision, encode_plan(plan), bytes(weights))
    except PlanError as error:
        raise LoweringError(str(error)) from None


def _plan(builder: PlanBuilder, output: int, precision: Precision) -> Plan:
    tensors = list(builder.tensors)
    end = 0
    for identifier, values in builder.constants.items():
        tensors[identifier] = replace(tensors[identifier], offset=end)
        end += -(-values.size * BYTES_PER_ELEMENT[precision] // ALIGNMENT) * ALIGNMENT
    # An empty file cannot be mapped.
    return Plan(precision, max(end, ALIGNMENT), 0, output, tuple(tensors), tuple(builder.operations))


def _stored(values: Array, precision: Precision) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        stored = values.astype(DTYPES[precision])
    if not np.all(np.isfinite(stored)):
        raise LoweringError(f"a weight of {np.abs(values).max():.3g} is beyond what {precision} can hold")
    return stored


def _write(path: Path, contents: bytes) -> ArtifactFile:
    path.write_bytes(contents)
    return ArtifactFile(path.name, len(contents), hashlib.sha256(contents).hexdigest())

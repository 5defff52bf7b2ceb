"""A lowered network as files: its plan, and its weights in one precision."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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
class Encoded:
    """A network in one precision, as it will be written: its plan file, and where its weights go."""

    plan: Plan
    plan_file: bytes
    builder: PlanBuilder

    def write(self, directory: Path) -> tuple[ArtifactFile, ArtifactFile]:
        """Write `xnnpack-<precision>.plan.json` and `xnnpack-<precision>.weights`; return both."""
        stem = directory / f"xnnpack-{self.plan.precision}"
        plan = Path(f"{stem}.plan.json")
        plan.write_bytes(self.plan_file)
        described = ArtifactFile(plan.name, len(self.plan_file), hashlib.sha256(self.plan_file).hexdigest())
        weights, digest = Path(f"{stem}.weights"), hashlib.sha256()
        with weights.open("wb") as file:
            for part in self.weights():
                digest.update(part)
                file.write(part)
        return described, ArtifactFile(weights.name, self.plan.weights_bytes, digest.hexdigest())

    def weights(self) -> Iterator[bytes]:
        """The weights file, one constant after the other: no second copy of all of them is in memory."""
        written = 0
        for identifier, values in self.builder.constants.items():
            gap = (self.plan.tensors[identifier].offset or 0) - written
            part = bytes(gap) + _stored(values, self.plan.precision).tobytes()
            written += len(part)
            yield part
        yield bytes(self.plan.weights_bytes - written)


def encode(builder: PlanBuilder, output: int, precision: Precision) -> Encoded:
    """Return what to write for a network whose result is tensor `output`. Raises LoweringError."""
    plan = plan_of(builder, output, precision)
    for values in builder.constants.values():
        if not np.all(np.isfinite(_stored(values, precision))):
            raise LoweringError(f"a weight of {np.abs(values).max():.3g} is beyond what {precision} can hold")
    try:
        return Encoded(plan, encode_plan(plan), builder)
    except PlanError as error:
        raise LoweringError(str(error)) from None


def plan_of(builder: PlanBuilder, output: int, precision: Precision) -> Plan:
    """Return the plan of a network whose result is tensor `output`."""
    tensors = list(builder.tensors)
    end = 0
    for identifier, values in builder.constants.items():
        tensors[identifier] = replace(tensors[identifier], offset=end)
        end += -(-values.size * BYTES_PER_ELEMENT[precision] // ALIGNMENT) * ALIGNMENT
    # An empty file cannot be mapped.
    return Plan(precision, max(end, ALIGNMENT), 0, output, tuple(tensors), tuple(builder.operations))


def _stored(values: Array, precision: Precision) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return values.astype(DTYPES[precision])

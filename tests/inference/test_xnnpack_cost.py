"""What a plan will take is known before it is taken, and held against the budget."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from edge_agent.config.schema import LabelsConfig, MemoryConfig, ModelConfig
from edge_agent.errors import BudgetError
from edge_agent.inference.loading import load_model
from edge_agent.inference.xnnpack import XnnpackEngine
from edge_agent.inference.xnnpack.cost import plan_cost
from edge_agent.memory.procfs import read_memory
from edge_agent.model.plan import FullyConnected, Plan, Pool2d
from edge_agent.model.plan_check import check_plan, most_bytes
from edge_agent.model.sidecar import SIDECAR_NAME, write_sidecar
from tests.installed import needs_xnnpack
from tests.model.plans import RandomPlan, plans, save

_MEASURE = """
import sys
from pathlib import Path
import numpy as np
from edge_agent.inference.xnnpack import XnnpackEngine
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.trim import SystemLibc, Trimmer, tune_allocator
from tests.model.plans import artifact_of, picture_for
from edge_agent.model.plan_file import decode_plan
tune_allocator(SystemLibc())
artifact = artifact_of(Path(sys.argv[1]), "fp32")
picture = picture_for(decode_plan((Path(sys.argv[1]) / "xnnpack-fp32.plan.json").read_bytes()))
Trimmer().trim()
before = read_memory().rss_mb
engine = XnnpackEngine.load(artifact, "fp32", threads=1)
engine.run(picture)
Trimmer().trim()
engine.run(picture)
print(read_memory().rss_mb - before)
"""


def shared_weights(copies: int, side: int = 1024) -> tuple[Plan, bytes]:
    """A small file that becomes large: each layer packs the same weights once more."""
    builder = RandomPlan((1, 1, 1, side))
    last = builder.linear(0, side)
    operation = builder.operations[0]
    assert isinstance(operation, FullyConnected)
    for _ in range(copies - 1):
        last = builder.add(replace(operation, input=last))
    return builder.build(last)


def wide_activations() -> tuple[Plan, bytes]:
    builder = RandomPlan((1, 512, 512, 8))
    wide = builder.conv2d(0, 32, (1, 1))
    return builder.build(builder.conv2d(wide, 16, (1, 1)))


def small_groups() -> tuple[Plan, bytes]:
    """One output to a group: the library pads each of them to a whole tile."""
    builder = RandomPlan((1, 4, 4, 4096))
    return builder.build(builder.conv2d(0, 2048, (3, 3), padding=(1, 1, 1, 1), groups=2048))


def large_windows() -> tuple[Plan, bytes]:
    builder = RandomPlan((1, 224, 224, 3))
    pooled = builder.add(Pool2d("pool", "max", 0, 0, (9, 9), (1, 1), (0, 0, 0, 0)))
    return builder.build(builder.conv2d(pooled, 8, (7, 7)))


@needs_xnnpack
@pytest.mark.parametrize(
    ("make", "most"),
    [(lambda: shared_weights(20), 1.3), (wide_activations, 1.3), (small_groups, 9.0), (large_windows, 9.0)],
    ids=["weights", "activations", "groups", "windows"],
)
def test_the_estimate_is_what_is_measured_or_somewhat_less(
    make: Callable[[], tuple[Plan, bytes]], most: float, tmp_path: Path
) -> None:
    plan, blob = make()
    save(plan, blob, tmp_path)
    command = [sys.executable, "-c", _MEASURE, str(tmp_path)]
    measured_mb = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    estimated_mb = plan_cost(plan, "fp32").total_mb
    assert estimated_mb <= measured_mb * 1.05 + 1
    assert measured_mb <= estimated_mb * most + 4


@given(made=plans())
@settings(deadline=None)
def test_no_plan_is_estimated_at_more_than_it_can_take(made: tuple[Plan, bytes]) -> None:
    plan, _ = made
    check_plan(plan)
    cost = plan_cost(plan, "fp32")
    constants = sum(4 * tensor.elements for tensor in plan.tensors if tensor.offset is not None)
    assert cost.total_mb * 1e6 <= most_bytes(plan) + constants
    widest = max(plan.tensors[operation.output].elements for operation in plan.operations)
    assert cost.activations_mb * 1e6 >= 4 * widest
    assert plan_cost(plan, "fp16").total_mb <= cost.total_mb


@needs_xnnpack
def test_a_plan_beyond_the_budget_is_refused_with_figures_before_it_takes_memory(tmp_path: Path) -> None:
    plan, blob = shared_weights(200)
    check_plan(plan)  # it is within every limit that does not know the budget
    artifact = save(plan, blob, tmp_path)
    sidecar = replace(artifact.sidecar, labels=tuple(map(str, range(1024))), torch_version="2.10")
    write_sidecar(tmp_path, sidecar)
    assert (tmp_path / SIDECAR_NAME).is_file()
    before_mb = read_memory().peak_mb
    with pytest.raises(
        BudgetError, match=r"budget_mb is 512, .*xnnpack fp32 needs \d+ MB here, or more .*8[34]\d MB for"
    ):
        load_model(
            ModelConfig(path=tmp_path, engine="xnnpack", precision="fp32"),
            MemoryConfig(budget_mb=512),
            LabelsConfig(),
            {},
        )
    assert read_memory().peak_mb - before_mb < 40


@needs_xnnpack
def test_an_engine_loads_nothing_that_is_not_admitted(tmp_path: Path) -> None:
    plan, blob = shared_weights(2, 64)
    seen: list[float] = []

    def refuse(needed_mb: float) -> None:
        seen.append(needed_mb)
        raise BudgetError("too much")

    with pytest.raises(BudgetError, match="too much"):
        XnnpackEngine.load(save(plan, blob, tmp_path), "fp32", threads=1, admit=refuse)
    assert seen == [plan_cost(plan, "fp32").total_mb]

"""The measuring process holds its memory low as the agent does."""

from __future__ import annotations

import pytest

from edge_agent.memory.trim import tune_allocator
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.calibrate import ENGINE_LOADER
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES
from edge_agent.tools.measure.child import measure
from edge_agent.tools.measure.task import Task
from tests.installed import needs_xnnpack
from tests.memory.libc import FakeLibc


def task(model: Artifact, engine: str, *, trims: bool) -> Task:
    options = {"engine": engine, "precision": "fp16", "threads": "1"}
    picture = str(BUNDLED_PICTURES[0].path)
    return Task(ENGINE_LOADER, str(model.directory), (picture,), options, frames=1, trims=trims)


@needs_xnnpack
@pytest.mark.parametrize("engine", ["xnnpack", "torchscript"])
def test_the_allocator_is_set_up_for_the_engine_as_in_the_agent(lite0: Artifact, engine: str) -> None:
    agent, measuring = FakeLibc(), FakeLibc()
    tune_allocator(agent)
    tune_allocator(agent, engine)
    measure(task(lite0, engine, trims=True), measuring)
    assert measuring.options == agent.options


@needs_xnnpack
def test_a_measurement_without_trims_leaves_the_allocator_alone(lite0: Artifact) -> None:
    libc = FakeLibc()
    measure(task(lite0, "xnnpack", trims=False), libc)
    assert libc.options == {}

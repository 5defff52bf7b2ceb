"""The lean engine on the installed libXNNPACK, against a plain reference."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError, EngineError
from edge_agent.inference.xnnpack import XnnpackEngine, operators, program
from edge_agent.inference.xnnpack.library import open_library
from edge_agent.inference.xnnpack.program import Program
from edge_agent.model.plan import UNBOUNDED, Plan, PlanError, Precision
from edge_agent.model.plan_check import multiplications
from edge_agent.model.plan_file import encode_plan
from edge_agent.tools.builder.reference import evaluate
from tests.installed import needs_xnnpack
from tests.model.plans import (
    RandomPlan,
    artifact_of,
    picture_for,
    plans,
    save,
    save_bytes,
    small_plan,
)

TOLERANCE = {"fp32": 1e-5, "fp16": 1e-2}
"""By arithmetic, relative to the largest value on the way to the result."""

LARGEST_HALF = 65504.0


def assert_agrees(engine: XnnpackEngine, plan: Plan, blob: bytes, seed: int = 0) -> None:
    picture = picture_for(plan, seed)
    expected = evaluate(plan, blob, picture)
    if engine.info.arithmetic == "fp16" and expected.largest > LARGEST_HALF:
        return
    tolerance = TOLERANCE[engine.info.arithmetic] * expected.largest
    np.testing.assert_allclose(engine.run(picture), expected.output, rtol=0, atol=tolerance)


@needs_xnnpack
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_every_type_of_operation_computes_what_it_should(precision: Precision, tmp_path: Path) -> None:
    plan, blob = small_plan(precision)
    engine = XnnpackEngine.load(save(plan, blob, tmp_path), precision, threads=2)
    assert_agrees(engine, plan, blob)


@needs_xnnpack
@settings(max_examples=150, deadline=None)
@given(plans())
def test_any_valid_plan_computes_what_it_should(built: tuple[Plan, bytes]) -> None:
    plan, blob = built
    with tempfile.TemporaryDirectory() as directory, mock.patch.object(program, "ALONE_BELOW", 0):
        engine = XnnpackEngine.load(save(plan, blob, Path(directory)), plan.precision, threads=2)
    assert_agrees(engine, plan, blob)
    assert_agrees(engine, plan, blob, seed=1)
    engine.close()


@needs_xnnpack
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_does_not_change_the_answer(threads: int, tmp_path: Path) -> None:
    builder = RandomPlan((1, 40, 40, 16))
    plan, blob = builder.build(builder.conv2d(0, 32))
    assert multiplications(plan.operations[0], plan.tensors) > program.ALONE_BELOW
    engine = XnnpackEngine.load(save(plan, blob, tmp_path), "fp32", threads=threads)
    assert engine.info.threads == threads
    assert_agrees(engine, plan, blob)


@needs_xnnpack
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_convolution_in_slabs_gives_the_same_to_the_last_bit(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = RandomPlan((1, 9, 9, 40), precision)
    plan, blob = builder.build(builder.conv2d(builder.conv2d(0, 100, (1, 1)), 77, stride=(2, 2)))
    artifact, picture = save(plan, blob, tmp_path), picture_for(plan)
    whole = XnnpackEngine.load(artifact, precision, threads=2).run(picture).copy()
    monkeypatch.setattr(operators, "_SLAB_BYTES", 1)
    assert np.array_equal(XnnpackEngine.load(artifact, precision, threads=2).run(picture), whole)


@needs_xnnpack
def test_a_pool_has_the_threads_that_were_asked_for_and_ends_with_the_engine(tmp_path: Path) -> None:
    plan, blob = small_plan()
    artifact = save(plan, blob, tmp_path)
    before = len(_threads())
    engine = XnnpackEngine.load(artifact, "fp32", threads=3)
    assert len(_threads()) == before + 2  # the caller is the third
    engine.close()
    assert _soon(lambda: len(_threads()) == before)


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_a_senseless_number_of_threads_is_refused(threads: int, tmp_path: Path) -> None:
    plan, blob = small_plan()
    with pytest.raises(EngineError, match="1 to 64"):
        XnnpackEngine.load(save(plan, blob, tmp_path), "fp32", threads=threads)


@needs_xnnpack
def test_the_pool_and_the_thread_that_runs_keep_to_their_cores(tmp_path: Path) -> None:
    plan, blob = small_plan()
    core = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    threads_before = _threads()
    engine = XnnpackEngine.load(save(plan, blob, tmp_path), "fp32", threads=2, affinity=(core,))
    (worker,) = _threads() - threads_before
    assert os.sched_getaffinity(int(worker)) == {core}
    assert os.sched_getaffinity(0) == before  # loading does not pin the thread that loads

    cores: list[set[int]] = []

    def infer() -> None:
        engine.run(picture_for(plan))
        cores.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=infer)
    thread.start()
    thread.join()
    engine.close()
    assert cores == [{core}]


@needs_xnnpack
def test_cores_that_are_not_there_are_refused_with_their_numbers(tmp_path: Path) -> None:
    plan, blob = small_plan()
    with pytest.raises(EngineError, match=r"cores \[4095\]"):
        XnnpackEngine.load(save(plan, blob, tmp_path), "fp32", threads=2, affinity=(4095,))


@needs_xnnpack
def test_engines_live_side_by_side_and_end_independently(tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("one", "two")]
    built = [small_plan("fp32"), small_plan("fp16")]
    engines = []
    for directory, (plan, blob) in zip(directories, built, strict=True):
        directory.mkdir()
        engines.append(XnnpackEngine.load(save(plan, blob, directory), plan.precision, threads=2))
    for engine, (plan, blob) in zip(engines, built, strict=True):
        assert_agrees(engine, plan, blob)
    engines[0].close()
    assert_agrees(engines[1], *built[1])
    engines[1].close()


@needs_xnnpack
def test_closing_twice_is_fine_and_running_after_it_is_an_error(tmp_path: Path) -> None:
    plan, blob = small_plan()
    engine = XnnpackEngine.load(save(plan, blob, tmp_path), "fp32", threads=2)
    logits = engine.run(picture_for(plan))
    engine.close()
    engine.close()
    assert np.all(np.isfinite(logits))  # the last result is the caller's own memory
    with pytest.raises(EngineError, match="closed"):
        engine.run(picture_for(plan))


@needs_xnnpack
@pytest.mark.parametrize(
    "tensor",
    [np.zeros((1, 9, 8, 4), np.float32), np.zeros((9, 8, 3), np.float32), np.zeros((1, 9, 8, 3), np.float64)],
)
def test_a_picture_of_another_shape_or_type_is_refused(tensor: NDArray[Any], tmp_path: Path) -> None:
    plan, blob = small_plan()
    engine = XnnpackEngine.load(save(plan, blob, tmp_path), "fp32", threads=1)
    with pytest.raises(EngineError, match=r"takes float32 \(1, 9, 8, 3\)"):
        engine.run(tensor)


@needs_xnnpack
def test_a_picture_that_is_not_contiguous_is_read_right(tmp_path: Path) -> None:
    plan, blob = small_plan()
    engine = XnnpackEngine.load(save(plan, blob, tmp_path), "fp32", threads=1)
    picture = picture_for(plan)
    expected = engine.run(picture).copy()
    strided = np.ascontiguousarray(picture.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(engine.run(strided), expected)


def test_a_model_without_a_plan_says_why(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path)
    sidecar = replace(artifact.sidecar, not_lowered="aten::cumsum of head is not known")
    with pytest.raises(ArtifactError, match=r"aten::cumsum of head is not known.*torchscript"):
        XnnpackEngine.load(replace(artifact, sidecar=sidecar), "fp16", threads=1)


@needs_xnnpack
def test_weights_that_are_too_short_are_refused_by_name(tmp_path: Path) -> None:
    plan, blob = small_plan()
    artifact = save(plan, blob[:-1], tmp_path)
    with pytest.raises(ArtifactError, match=r"xnnpack-fp32.weights holds \d+ bytes, its plan is for"):
        XnnpackEngine.load(artifact, "fp32", threads=1)


@pytest.mark.parametrize("suffix", ["plan.json", "weights"])
def test_a_file_that_is_not_the_one_in_the_sidecar_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    plan, blob = small_plan()
    artifact = save(plan, blob, tmp_path)
    path = tmp_path / f"xnnpack-fp32.{suffix}"
    contents = bytearray(path.read_bytes())
    contents[-2] ^= 1
    path.write_bytes(contents)
    with pytest.raises(ArtifactError, match=rf"xnnpack-fp32\.{suffix}: damaged"):
        XnnpackEngine.load(artifact, "fp32", threads=1)


def test_a_damaged_plan_is_refused_by_name(tmp_path: Path) -> None:
    plan, blob = small_plan()
    artifact = save_bytes(encode_plan(plan)[:-9], blob, tmp_path, "fp32")
    with pytest.raises(PlanError, match=r"xnnpack-fp32\.plan\.json: it is not JSON"):
        XnnpackEngine.load(artifact, "fp32", threads=1)


def test_a_plan_of_another_precision_than_its_name_is_refused(tmp_path: Path) -> None:
    plan, blob = small_plan("fp16")
    artifact = save_bytes(encode_plan(plan), blob, tmp_path, "fp32")
    with pytest.raises(PlanError, match="precision fp16"):
        XnnpackEngine.load(artifact, "fp32", threads=1)


@pytest.mark.parametrize("suffix", ["plan.json", "weights"])
def test_a_file_that_is_gone_is_named(suffix: str, tmp_path: Path) -> None:
    plan, blob = small_plan()
    artifact = save(plan, blob, tmp_path)
    (tmp_path / f"xnnpack-fp32.{suffix}").unlink()
    with pytest.raises(ArtifactError, match=rf"xnnpack-fp32\.{suffix}: cannot be read: No such file"):
        XnnpackEngine.load(artifact, "fp32", threads=1)


@needs_xnnpack
def test_what_the_library_refuses_is_said_with_the_operation_and_its_meaning(tmp_path: Path) -> None:
    builder = RandomPlan((1, 4, 4, 2), "fp32")
    plan, blob = builder.build(builder.conv2d(0, 3))
    save(plan, blob, tmp_path)
    unchecked = replace(plan, operations=(replace(plan.operations[0], stride=(0, 1)),))  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=r"operation 0 \(conv2d of 'conv0'\).*invalid parameter \(2\)"):
        Program(unchecked, tmp_path / "xnnpack-fp32.weights", "fp32", open_library(), pool=0)


@needs_xnnpack
def test_a_failed_load_leaves_no_thread_behind(tmp_path: Path) -> None:
    plan, blob = small_plan()
    before = len(_threads())
    with pytest.raises(ArtifactError):
        XnnpackEngine.load(save(plan, blob[:-1], tmp_path), "fp32", threads=4)
    assert _soon(lambda: len(_threads()) == before)


@needs_xnnpack
def test_weights_are_not_kept_twice(tmp_path: Path) -> None:
    builder = RandomPlan((1, 1, 1, 2048), "fp16")
    plan, blob = builder.build(builder.linear(0, 4096, UNBOUNDED))
    artifact = save(plan, blob, tmp_path)
    packed_mb = plan.tensors[1].elements * 4 / 2**20  # fp32 arithmetic: the larger of the two
    before = _resident_mb()
    engine = XnnpackEngine.load(artifact, "fp16", threads=1)
    grown = _resident_mb() - before
    engine.close()
    assert grown < packed_mb + 4
    assert _resident_mb() - before < 4


def _threads() -> set[str]:
    return {task.name for task in Path("/proc/self/task").iterdir()}


def _soon(condition: Callable[[], bool]) -> bool:
    """Return whether something comes true in time: a joined thread may stay in /proc for a moment."""
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

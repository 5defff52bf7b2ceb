"""The native engine as the daemon loads it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ArtifactError, BudgetError, EngineError
from edge_agent.inference.native.engine import NativeEngine
from edge_agent.inference.native.library import open_library
from edge_agent.model.sidecar import Artifact
from tests.inference.native.kernels import logits_of
from tests.installed import needs_native
from tests.model.plans import RandomPlan, picture_for, save, small_plan

pytestmark = needs_native


def load(artifact: Artifact, **options: Any) -> NativeEngine:
    chosen: dict[str, Any] = {"threads": 2, "directories": [artifact.directory]} | options
    return NativeEngine.load(artifact, "fp32", **chosen)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return save(*small_plan(), tmp_path)


def test_it_answers_as_the_kernels_do_and_says_what_it_is(artifact: Artifact) -> None:
    plan, blob = small_plan()
    engine = load(artifact)
    assert np.array_equal(
        engine.run(picture_for(plan)), logits_of(plan, blob, picture_for(plan), open_library())
    )
    assert (engine.info.engine, engine.info.precision, engine.info.threads) == ("native", "fp32", 2)
    assert open_library().version in engine.info.library
    engine.close()


@pytest.mark.parametrize("threads", [0, 65])
def test_an_impossible_number_of_threads_is_refused(artifact: Artifact, threads: int) -> None:
    with pytest.raises(EngineError, match="takes 1 to 64"):
        load(artifact, threads=threads)


def test_cores_that_are_not_there_are_refused(artifact: Artifact) -> None:
    with pytest.raises(EngineError, match=r"cannot run on the cores \[4000\]"):
        load(artifact, affinity=(4000,))


def test_a_picture_of_another_shape_or_type_is_refused(artifact: Artifact) -> None:
    engine = load(artifact)
    with pytest.raises(EngineError, match=r"takes float32 \(1, 9, 8, 3\)"):
        engine.run(np.zeros((1, 9, 9, 3), np.float32))
    with pytest.raises(EngineError, match="it was given float64"):
        engine.run(np.zeros((1, 9, 8, 3), np.float64))


def test_a_picture_that_is_not_in_one_piece_is_read_all_the_same(artifact: Artifact) -> None:
    plan, _ = small_plan()
    picture = picture_for(plan)
    apart = np.asfortranarray(picture)
    engine = load(artifact)
    assert np.array_equal(engine.run(apart).copy(), engine.run(picture))


def test_a_closed_engine_says_so_and_closes_twice(artifact: Artifact) -> None:
    engine = load(artifact)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(np.zeros((1, 9, 8, 3), np.float32))
    with pytest.raises(EngineError, match="closed"):
        _ = engine.features


def test_engines_run_side_by_side(artifact: Artifact, tmp_path: Path) -> None:
    plan, _ = small_plan()
    other = tmp_path / "other"
    other.mkdir()
    builder = RandomPlan((1, 30, 30, 16))
    larger, blob = builder.build(builder.conv2d(0, 32))
    engines = [load(artifact), load(save(larger, blob, other), threads=3)]
    pictures = [picture_for(plan), picture_for(larger)]
    expected = [engine.run(picture).copy() for engine, picture in zip(engines, pictures, strict=True)]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(100):
            if not np.array_equal(engines[number].run(pictures[number]), expected[number]):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_threads_end_with_the_engine(artifact: Artifact) -> None:
    def threads() -> set[str]:
        return {path.name for path in Path("/proc/self/task").iterdir()}

    before = threads()
    engine = load(artifact, threads=5)
    started = threads() - before
    assert len(started) == 4
    engine.close()
    deadline_s = time.monotonic() + 5
    while started & threads():  # the system takes a moment to forget a thread
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def test_what_it_will_take_is_told_before_it_is_taken(artifact: Artifact) -> None:
    def refuse(needed_mb: float) -> None:
        raise BudgetError(f"{needed_mb:.3f}")

    with pytest.raises(BudgetError, match=r"0\.0\d\d"):
        load(artifact, admit=refuse)
    assert not list(artifact.directory.glob("*.packed"))


def test_with_little_room_weights_are_streamed_and_the_answer_is_the_same(tmp_path: Path) -> None:
    builder = RandomPlan((1, 12, 12, 64))
    plan, blob = builder.build(builder.conv2d(builder.conv2d(0, 128), 128))
    artifact = save(plan, blob, tmp_path)
    kept, streamed = load(artifact), load(artifact, room_mb=0.2)
    assert (kept.can_stream, streamed.can_stream) == (True, False)
    expected = kept.run(picture_for(plan)).copy()
    assert np.array_equal(streamed.run(picture_for(plan)), expected)
    kept.stream()
    assert not kept.can_stream
    assert np.array_equal(kept.run(picture_for(plan)), expected)


def test_a_damaged_plan_is_refused_by_name(artifact: Artifact) -> None:
    plan = artifact.directory / "xnnpack-fp32.plan.json"
    plan.write_bytes(plan.read_bytes()[:-2])
    with pytest.raises(ArtifactError, match=r"plan\.json: damaged"):
        load(artifact)

"""The packed weights: made once, checked each time, and never in the way."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError
from edge_agent.inference.native.engine import NativeEngine
from edge_agent.inference.native.library import open_library
from edge_agent.model.plan import Plan
from edge_agent.model.sidecar import Artifact
from tests.inference.native.kernels import logits_of
from tests.installed import needs_native
from tests.model.plans import picture_for, save, small_plan

pytestmark = needs_native
PLAN, BLOB = small_plan()


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    directory = tmp_path / "model"
    directory.mkdir()
    return save(PLAN, BLOB, directory)


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float32]:
    return logits_of(PLAN, BLOB, picture_for(PLAN), open_library())


def load(artifact: Artifact, *directories: Path) -> NativeEngine:
    places = directories or (artifact.directory,)
    return NativeEngine.load(artifact, "fp32", threads=1, directories=places)


def answers(engine: NativeEngine, expected: NDArray[np.float32]) -> bool:
    return np.array_equal(engine.run(picture_for(PLAN)), expected)


def packed_in(directory: Path) -> Path:
    (path,) = directory.glob("*.packed")
    return path


def test_the_second_load_reads_what_the_first_has_written(artifact: Artifact) -> None:
    first = load(artifact)
    path = packed_in(artifact.directory)
    written = path.stat()
    second = load(artifact)
    assert (first.packed.path, second.packed.path) == (path, path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_models_own_weights_are_not_read_again(artifact: Artifact, expected: NDArray[np.float32]) -> None:
    load(artifact)
    (artifact.directory / "xnnpack-fp32.weights").unlink()
    assert answers(load(artifact), expected)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_is_made_again(artifact: Artifact, expected: NDArray[np.float32], seed: int) -> None:
    load(artifact).close()
    path, choices = packed_in(artifact.directory), random.Random(seed)
    contents = bytearray(path.read_bytes())
    place = choices.choice([*range(60), 4096 + choices.randrange(len(contents) - 4096)])
    contents[place] ^= 1 << choices.randrange(8)
    path.write_bytes(contents if seed % 4 else contents[: choices.randrange(len(contents))])
    assert answers(load(artifact), expected)
    assert path.read_bytes() != bytes(contents)


def test_a_file_that_was_made_for_another_model_is_not_used(
    artifact: Artifact, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    changed = bytes(reversed(BLOB))
    plan = Plan(PLAN.precision, len(changed), PLAN.input, PLAN.output, PLAN.tensors, PLAN.operations)
    load(save(plan, changed, other)).close()
    load(artifact).close()
    packed_in(other).replace(packed_in(artifact.directory))
    assert answers(load(artifact), expected)


def test_a_read_only_model_gets_its_file_in_the_cache(
    artifact: Artifact, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    missing = Path("/proc/nowhere")  # nobody can write there, root included
    engine = load(artifact, missing, tmp_path / "cache")
    assert engine.packed.path == packed_in(tmp_path / "cache")
    assert answers(engine, expected)


def test_where_no_file_can_be_written_the_weights_are_packed_into_memory(
    artifact: Artifact, expected: NDArray[np.float32]
) -> None:
    engine = load(artifact, Path("/proc/nowhere"))
    assert engine.packed.path is None
    assert "/proc/nowhere" in engine.packed.note
    assert not engine.can_stream
    assert answers(engine, expected)


def test_a_disk_that_fills_up_leaves_nothing_behind(
    artifact: Artifact, expected: NDArray[np.float32]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4200, hard))
    try:
        engine = load(artifact)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert engine.packed.path is None
    assert not [path for path in artifact.directory.iterdir() if "packed" in path.name]
    assert answers(engine, expected)


def test_a_planted_link_is_replaced_and_not_followed(artifact: Artifact, tmp_path: Path) -> None:
    load(artifact).close()
    path, victim = packed_in(artifact.directory), tmp_path / "victim"
    victim.write_bytes(b"mine")
    path.unlink()
    path.symlink_to(victim)
    load(artifact).close()
    assert victim.read_bytes() == b"mine"
    assert not path.is_symlink()


_LOAD = """
import sys
from pathlib import Path
from tests.inference.native.test_packed_file import load, answers, PLAN, BLOB
from tests.model.plans import artifact_of
engine = load(artifact_of(Path(sys.argv[1]), "fp32"))
from tests.inference.native.test_packed_file import *
print(answers(engine, logits_of(PLAN, BLOB, picture_for(PLAN), open_library())))
"""


def test_processes_that_start_at_once_do_not_disturb_each_other(artifact: Artifact) -> None:
    command = [sys.executable, "-c", _LOAD, str(artifact.directory)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["True"] * 3
    assert len(list(artifact.directory.glob("*packed*"))) == 1


def test_weights_of_another_length_are_refused(artifact: Artifact) -> None:
    weights = artifact.directory / "xnnpack-fp32.weights"
    weights.write_bytes(BLOB[:-1])
    with pytest.raises(ArtifactError, match=r"xnnpack-fp32\.weights: damaged: it has \d+ bytes"):
        load(artifact)


def test_damaged_weights_are_never_packed(artifact: Artifact) -> None:
    weights = artifact.directory / "xnnpack-fp32.weights"
    weights.write_bytes(BLOB[:-1] + bytes([BLOB[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"xnnpack-fp32\.weights: damaged: its sha256"):
        load(artifact)

"""The packed weights: made once, checked each time, and never in the way."""

from __future__ import annotations

import fcntl
import itertools
import os
import pickle
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError
from edge_agent.inference.native import steps
from edge_agent.inference.native.engine import NativeEngine
from edge_agent.inference.native.library import open_library
from edge_agent.inference.native.packed_file import MOST_FILES
from edge_agent.model.plan import Plan
from edge_agent.model.sidecar import Artifact
from tests.inference.native.kernels import logits_of, variants_here
from tests.installed import needs_native
from tests.model.plans import RandomPlan, picture_for, save, small_plan

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


def load(artifact: Artifact, *directories: Path, variant: str = "") -> NativeEngine:
    places = directories or (artifact.directory,)
    return NativeEngine.load(artifact, "fp32", threads=1, directories=places, variant=variant)


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
    engine.stream()
    assert answers(engine, expected)
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


def test_what_lies_there_in_place_of_a_file_is_not_waited_for(
    artifact: Artifact, expected: NDArray[np.float32]
) -> None:
    load(artifact).close()
    path = packed_in(artifact.directory)
    path.unlink()
    os.mkfifo(path)
    engine = load(artifact)
    assert path.is_file()
    assert answers(engine, expected)


def test_a_folder_in_its_place_leaves_the_weights_in_memory(
    artifact: Artifact, expected: NDArray[np.float32]
) -> None:
    load(artifact).close()
    path = packed_in(artifact.directory)
    path.unlink()
    path.mkdir()
    engine = load(artifact)
    assert "directory" in engine.packed.note
    assert answers(engine, expected)
    assert list(artifact.directory.glob("*packed*")) == [path]


def test_a_file_of_any_length_costs_no_memory(artifact: Artifact, expected: NDArray[np.float32]) -> None:
    load(artifact).close()
    path = packed_in(artifact.directory)
    size = path.stat().st_size
    os.truncate(path, 1 << 40)
    assert answers(load(artifact), expected)
    assert path.stat().st_size == size


def test_each_kind_of_kernels_has_a_file_of_its_own(
    artifact: Artifact, expected: NDArray[np.float32]
) -> None:
    for variant in variants_here():
        load(artifact, variant=variant.name).close()
    files = sorted(artifact.directory.glob("*.packed"))
    assert len(files) == len({open_library(variant.name).lanes for variant in variants_here()})
    for variant in variants_here():
        for own, other in itertools.pairwise([*files, files[0]]):
            own.write_bytes(other.read_bytes())
        engine = load(artifact, variant=variant.name)
        np.testing.assert_allclose(engine.run(picture_for(PLAN)), expected, atol=1e-5)


def test_a_version_that_chooses_other_kernels_makes_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = RandomPlan((1, 9, 9, 16))
    plan, blob = builder.build(builder.conv2d(0, 32, padding=(1, 1, 1, 1)))
    artifact, picture = save(plan, blob, tmp_path), picture_for(plan)
    with monkeypatch.context() as patched:
        patched.setattr(steps, "WINOGRAD_FROM_CHANNELS", 64)
        older = load(artifact)
        expected, path = older.run(picture).copy(), packed_in(tmp_path)
    newer = load(artifact)
    assert newer.packed.path is not None
    assert newer.packed.path != path
    assert newer.packed.path.stat().st_size == path.stat().st_size
    path.replace(newer.packed.path)
    np.testing.assert_allclose(load(artifact).run(picture), expected, atol=1e-4)


def test_what_a_killed_writer_left_is_removed_and_what_one_still_writes_is_not(artifact: Artifact) -> None:
    load(artifact).close()
    path = packed_in(artifact.directory)
    path.unlink()
    left, living = (path.with_name(f".{path.name}.{ending}") for ending in ("left", "living"))
    left.write_bytes(b"half")
    with living.open("wb") as file:
        file.write(b"half")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        load(artifact).close()
    assert set(artifact.directory.glob("*packed*")) == {path, living}


def test_few_files_are_kept_in_one_directory(artifact: Artifact, tmp_path: Path) -> None:
    cache, others = tmp_path / "cache", []
    cache.mkdir()
    for number in range(MOST_FILES + 2):
        others.append(cache / f"native-fp16-32-{number}.packed")
        others[-1].write_bytes(b"another model's")
        os.utime(others[-1], (number, number))
    kept = load(artifact, cache).packed.path
    assert set(cache.iterdir()) == {kept, *others[-MOST_FILES + 1 :]}
    assert load(artifact, cache).packed.path == kept
    assert len(list(cache.iterdir())) == MOST_FILES


_LOAD = """
import pickle, sys
from edge_agent.inference.native.engine import NativeEngine
print(flush=True)
artifact, directory, picture = pickle.load(sys.stdin.buffer)
engine = NativeEngine.load(artifact, "fp32", threads=1, directories=[directory])
print(engine.run(picture).tobytes().hex(), engine.packed.note)
"""


def loads_in(artifact: Artifact, directory: Path) -> bytes:
    """What the process that runs _LOAD reads: it loads the model as soon as it has it."""
    return pickle.dumps((artifact, directory, picture_for(PLAN)))


def test_processes_that_start_at_once_do_not_disturb_each_other(
    artifact: Artifact, expected: NDArray[np.float32]
) -> None:
    command = [sys.executable, "-c", _LOAD]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running: list[Any] = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for process in running:
        process.stdout.readline()  # all is imported
    for process in running:
        process.stdin.write(loads_in(artifact, artifact.directory))
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0].decode().strip() for process in running]
    assert printed == [expected.tobytes().hex()] * 3
    assert len(list(artifact.directory.glob("*packed*"))) == 1


@pytest.mark.parametrize(
    ("options", "problem"), [("size=4k", "No space left on device"), ("ro", "Read-only file system")]
)
def test_a_disk_that_takes_no_file_leaves_the_weights_in_memory(
    artifact: Artifact, expected: NDArray[np.float32], tmp_path: Path, options: str, problem: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    as_root = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*as_root, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a disk")
    script = f'mount -t tmpfs -o {options} none "$1" && "$2" -c "$3" && ls -A "$1"'
    done = subprocess.run(
        [*as_root, "sh", "-c", script, "sh", disk, sys.executable, _LOAD],
        check=True,
        capture_output=True,
        input=loads_in(artifact, disk),
    )
    assert done.stdout.decode() == f"\n{expected.tobytes().hex()} {disk}: {problem}\n"


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

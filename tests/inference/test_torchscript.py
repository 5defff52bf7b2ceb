"""The torchscript engine, on a real model: right answers, clear refusals, and a lean process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError, EngineError
from edge_agent.inference.torchscript import TorchScriptEngine
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import (
    Artifact,
    Sidecar,
    describe_file,
    files_sha256,
    read_sidecar,
    write_sidecar,
)

if TYPE_CHECKING:
    import torch


def picture(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(1, 224, 224, 3)).astype(np.float32)


def with_sidecar(artifact: Artifact, directory: Path, sidecar: Sidecar) -> Artifact:
    """A copy of the model with another sidecar, as it is read from the disk."""
    for name in artifact.sidecar.listed:
        if not (directory / name).exists():
            shutil.copy(artifact.directory / name, directory)
    write_sidecar(directory, replace(sidecar, sha256=files_sha256(sidecar.files)))
    return read_sidecar(directory)


@pytest.fixture(scope="module")
def eager() -> torch.nn.Module:
    from edge_agent.tools.builder.eager import load_network

    return load_network("efficientnet_lite0", None, lambda _line: None).module


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-3)])
def test_it_answers_with_the_eager_networks_logits(
    lite0: Artifact, eager: torch.nn.Module, precision: Precision, tolerance: float
) -> None:
    import torch

    engine = TorchScriptEngine.load(lite0, precision, threads=1)
    for seed in range(3):
        with torch.inference_mode():
            expected = eager(torch.from_numpy(picture(seed)).permute(0, 3, 1, 2))[0].numpy()
        found = engine.run(picture(seed))
        assert found.dtype == np.float32
        assert found.shape == (1000,)
        assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()
    engine.close()


def test_it_says_what_runs_the_model(lite0: Artifact) -> None:
    import torch

    info = TorchScriptEngine.load(lite0, "fp16", threads=1).info
    assert (info.engine, info.precision, info.arithmetic, info.threads) == ("torchscript", "fp16", "fp32", 1)
    assert info.library == f"torch {torch.__version__}"


def test_the_input_buffer_is_read_and_left_as_it_is(lite0: Artifact) -> None:
    engine = TorchScriptEngine.load(lite0, "fp32", threads=1)
    buffer = picture(0)
    first = engine.run(buffer).copy()
    assert np.array_equal(buffer, picture(0))
    buffer[:] = picture(1)
    assert not np.array_equal(engine.run(buffer), first)
    buffer[:] = picture(0)
    assert np.array_equal(engine.run(buffer), first)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 3, 224, 224), np.float32),
        np.zeros((1, 224, 224, 3), np.float64),
        np.zeros((1, 3, 224, 224), np.float32).transpose(0, 2, 3, 1),
        np.zeros((2, 224, 224, 3), np.float32),
    ],
    ids=["NCHW", "float64", "not contiguous", "two pictures"],
)
def test_an_input_of_another_layout_is_refused(lite0: Artifact, wrong: NDArray[np.float32]) -> None:
    engine = TorchScriptEngine.load(lite0, "fp32", threads=1)
    with pytest.raises(EngineError, match=r"expected C-contiguous float32 \(1, 224, 224, 3\)"):
        engine.run(wrong)


def test_closing_it_twice_is_fine_and_running_it_then_is_not(lite0: Artifact) -> None:
    engine = TorchScriptEngine.load(lite0, "fp32", threads=1)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(picture(0))


def test_a_model_from_a_newer_torch_is_refused_before_it_is_read(lite0: Artifact, tmp_path: Path) -> None:
    import torch

    newer = with_sidecar(lite0, tmp_path, replace(lite0.sidecar, torch_version="99.1.0+cpu"))
    (tmp_path / "torchscript-fp32.pt").write_bytes(b"never looked at")
    with pytest.raises(
        ArtifactError, match=rf"built with torch 99\.1\.0\+cpu, newer than the torch {torch.__version__[:3]}"
    ):
        TorchScriptEngine.load(newer, "fp32", threads=1)


def test_a_model_from_an_older_torch_or_a_patch_release_is_read(lite0: Artifact, tmp_path: Path) -> None:
    import torch

    major_minor = ".".join(torch.__version__.split(".")[:2])
    for version in ("2.9.0", f"{major_minor}.99"):
        older = with_sidecar(lite0, tmp_path, replace(lite0.sidecar, torch_version=version))
        TorchScriptEngine.load(older, "fp32", threads=1).close()


@pytest.mark.parametrize("labels", [("cat", "dog"), tuple(f"label {number}" for number in range(1001))])
def test_labels_that_do_not_match_the_logits_are_refused(
    lite0: Artifact, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    other = with_sidecar(lite0, tmp_path, replace(lite0.sidecar, labels=labels))
    with pytest.raises(
        ArtifactError, match=rf"model\.json: has {len(labels)} labels, and the model answers 1000 logits"
    ):
        TorchScriptEngine.load(other, "fp32", threads=1)


def test_a_damaged_model_is_refused_with_its_name(lite0: Artifact, tmp_path: Path) -> None:
    artifact = with_sidecar(lite0, tmp_path, lite0.sidecar)
    content = bytearray((tmp_path / "torchscript-fp16.pt").read_bytes())
    content[5000] ^= 255
    (tmp_path / "torchscript-fp16.pt").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"torchscript-fp16\.pt: damaged"):
        TorchScriptEngine.load(artifact, "fp16", threads=1)


def with_other_fp16(artifact: Artifact, directory: Path) -> Artifact:
    """The model with the `torchscript-fp16.pt` that lies in the directory, hashed as if it were its own."""
    files = artifact.sidecar.files | {"torchscript-fp16": (describe_file(directory / "torchscript-fp16.pt"),)}
    return with_sidecar(artifact, directory, replace(artifact.sidecar, files=files))


def test_a_file_that_is_no_torchscript_is_refused_with_its_name(lite0: Artifact, tmp_path: Path) -> None:
    (tmp_path / "torchscript-fp16.pt").write_bytes(b"hashed, and yet no model")
    artifact = with_other_fp16(lite0, tmp_path)
    with pytest.raises(ArtifactError, match=r"torchscript-fp16\.pt: not a TorchScript file"):
        TorchScriptEngine.load(artifact, "fp16", threads=1)


def test_a_file_that_unfolds_to_much_more_than_its_size_is_refused_before_torch_unfolds_it(
    lite0: Artifact, tmp_path: Path
) -> None:
    with zipfile.ZipFile(
        tmp_path / "torchscript-fp16.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1
    ) as file:
        file.writestr("archive/data.pkl", bytes(40 << 20))
    artifact = with_other_fp16(lite0, tmp_path)
    with pytest.raises(ArtifactError, match=r"torchscript-fp16\.pt: unfolds to 42 MB from 0\.2 MB"):
        TorchScriptEngine.load(artifact, "fp16", threads=1)


def test_cores_that_are_not_there_are_refused_with_those_that_are(lite0: Artifact) -> None:
    with pytest.raises(EngineError, match=r"affinity \[4000\] cannot be set: there are the cores \[\d"):
        TorchScriptEngine.load(lite0, "fp32", threads=1, affinity=(4000,))


FRESH_PROCESS = """
import json, os, sys
from pathlib import Path
import numpy as np
from edge_agent.model.sidecar import read_sidecar
from edge_agent.inference.torchscript import TorchScriptEngine

core = min(os.sched_getaffinity(0))
artifact = read_sidecar(Path(sys.argv[1]))
tasks = Path("/proc/self/task")
before = {task.name for task in tasks.iterdir()} - {str(os.getpid())}  # numpy's own threads
engine = TorchScriptEngine.load(artifact, "fp16", threads=2, affinity=(core,))
logits = engine.run(np.zeros((1, 224, 224, 3), np.float32))
threads = {task.name for task in tasks.iterdir()} - before
print(json.dumps({
    "finite": bool(np.isfinite(logits).all()),
    "modules": [name for name in sys.modules if name.startswith(("torch", "cv2"))],
    "threads": len(threads),
    "threads_elsewhere": sum(os.sched_getaffinity(int(thread)) != {core} for thread in threads),
}))
"""


def test_a_process_of_its_own_is_pinned_sleeps_while_waiting_and_leaves_the_compiler_out(
    lite0: Artifact,
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, str(lite0.directory)],
        env=os.environ | {"OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["finite"]
    assert "torch" in found["modules"]
    assert not {"torchvision", "cv2", "torch._meta_registrations"} & set(found["modules"])
    assert found["threads"] >= 2
    assert found["threads_elsewhere"] == 0
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in ran.stderr
    assert "deprecated" not in ran.stderr


def test_without_torch_it_says_what_to_install(lite0: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match=r"needs torch.*pip install 'edge-agent\[torch\]'"):
        TorchScriptEngine.load(lite0, "fp32", threads=1)

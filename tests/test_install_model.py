"""Where install.sh takes the model from, and when torch is installed with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.model.sidecar import Artifact
from tests.installing import CHECKOUT, run

NOWHERE = {"https_proxy": "http://127.0.0.1:1", "PATH": "/usr/bin:/bin"}
WEIGHTS_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"


def dry_run(root: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CHECKOUT / "install.sh", "--dry-run", "--root", root, *options],
        capture_output=True,
        text=True,
        env=NOWHERE,
        check=False,
    )


def wants_torch(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stderr
    return "pip install edge-agent[torch]" in done.stdout


def test_weights_that_cannot_be_downloaded_are_said_before_anything_is_changed(tmp_path: Path) -> None:
    done = subprocess.run(
        [CHECKOUT / "install.sh", "--root", tmp_path / "root"],
        capture_output=True,
        text=True,
        env=NOWHERE,
        check=False,
    )
    assert done.returncode == 1
    assert f"the weights of resnet18 cannot be downloaded: {WEIGHTS_URL}: " in done.stderr
    assert "--weights FILE" in done.stderr
    assert "--arch efficientnet_lite0" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_weights_are_asked_for_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    done = dry_run(tmp_path / "root", "--offline", tmp_path / "wheels", "--arch", "resnet34")
    assert "the weights of resnet34 would be downloaded" in done.stderr
    assert "give a copy by --weights FILE, or a model by --lean MODEL_DIR" in done.stderr


def test_an_architecture_that_needs_torch_is_refused_where_there_is_none(tmp_path: Path) -> None:
    done = dry_run(tmp_path / "root", "--arch", "swin_t")
    assert "--arch swin_t: cannot be built without torch" in done.stderr
    (tmp_path / "swin.pth").write_bytes(b"weights")
    assert wants_torch(
        dry_run(tmp_path / "root", "--arch", "swin_t", "--weights", tmp_path / "swin.pth", "--torch")
    )


def test_torch_is_installed_only_where_it_is_asked_for(tmp_path: Path, lite0: Artifact) -> None:
    (tmp_path / "weights.pth").write_bytes(b"weights")
    given = ("--weights", tmp_path / "weights.pth")
    assert not wants_torch(dry_run(tmp_path / "root", *given))
    assert wants_torch(dry_run(tmp_path / "root", *given, "--torch"))
    assert not wants_torch(dry_run(tmp_path / "root", "--lean", lite0.directory))
    assert "--lean is without torch" in run("--lean", lite0.directory, "--torch").stderr


@pytest.mark.parametrize(
    ("marks", "engine", "lowered", "keeps"),
    [
        (["torch"], "auto", True, True),
        (["lean"], "torchscript", True, False),
        ([], "auto", True, False),
        ([], "torchscript", True, True),
        ([], "auto", False, True),
    ],
    ids=["asked for once", "lean", "an older one that does not need it", "its engine", "no plan"],
)
def test_an_upgrade_keeps_torch_where_the_agent_runs_on_it(
    tmp_path: Path, lite0: Artifact, marks: list[str], engine: str, lowered: bool, keeps: bool
) -> None:
    root = tmp_path / "root"
    share = root / "opt/edge-agent/releases/0.9.0/share/edge-agent"
    share.mkdir(parents=True)
    (root / "opt/edge-agent/current").symlink_to("releases/0.9.0")
    for mark in marks:
        (share / mark).touch()
    model = root / "var/lib/edge-agent-models/one"
    shutil.copytree(lite0.directory, model)
    if not lowered:
        for path in model.glob("xnnpack-*"):
            path.unlink()
    (model.parent / "current").symlink_to("one")
    (root / "etc/edge-agent").mkdir(parents=True)
    (root / "etc/edge-agent/edge-agent.yaml").write_text(f"model: {{engine: {engine}}}  # not torchscript\n")
    assert wants_torch(dry_run(root, "--upgrade")) == keeps

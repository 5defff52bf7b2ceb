"""The installer, below a directory of its own: real virtual environments, no users, packages or systemd."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from edge_agent.model.sidecar import Artifact
from tests.installed import program
from tests.installing import CHECKOUT, Installation, copy_of_checkout, run, set_version

SCRIPTS = (
    "install.sh",
    "requirements/lock-board",
    "tests/board/build-image",
    "tests/board/board",
    "tests/board/run",
    "tests/board/measure",
    "requirements/debian",
    "requirements/install",
    "requirements/lock-dev",
    ".ci/run",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, lite0: Artifact) -> Installation:
    """One lean installation; the tests that use it follow each other."""
    directory = tmp_path_factory.mktemp("install")
    checkout = copy_of_checkout(directory / "checkout")
    set_version(checkout, "1.0.0")
    made = Installation(directory / "root", checkout, lite0.directory)
    done = made.install()
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_the_shell_scripts_are_clean() -> None:
    scripts = [CHECKOUT / name for name in SCRIPTS]
    checked = subprocess.run([program("shellcheck"), *scripts], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_every_problem_is_listed_at_once_and_nothing_is_changed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = run("--root", root, "--lean", tmp_path / "no-model", "--config", tmp_path / "no-file", "--upgrade",
               "--offline", tmp_path / "no-wheels")  # fmt: skip
    assert done.returncode == 1
    problems = [line for line in done.stderr.splitlines() if line.startswith("  - ")]
    for said in (
        "no-model: no model there",
        "no-file: no such file",
        "no wheels there",
        "not installed here",
    ):
        assert any(said in line for line in problems), done.stderr
    assert not root.exists()


def test_a_model_that_was_not_lowered_is_refused_for_lean(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    done = run("--root", tmp_path / "root", "--lean", tmp_path)
    assert done.returncode == 1
    assert "was not lowered" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--frobnicate"], "unknown option --frobnicate"),
        (["--lean"], "--lean needs a value"),
        (["--wait", "soon"], "--wait takes a number"),
        (["--purge"], "--purge goes with --uninstall"),
        (["--lean", "a", "--arch", "resnet34"], "--lean brings its own model"),
        (["--uninstall", "--lean", "a"], "--uninstall installs nothing"),
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(options: list[str], said: str) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_dry_run_shows_the_steps_and_changes_nothing(tmp_path: Path, lite0: Artifact) -> None:
    done = run("--dry-run", "--root", tmp_path / "root", "--lean", lite0.directory)
    assert done.returncode == 0, done.stderr
    assert "python3 -I -m venv --system-site-packages" in done.stdout
    assert "nothing was changed" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_runs(installed: Installation) -> None:
    version = subprocess.run(
        [installed.current / "bin/edge-agent", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout == "edge-agent 1.0.0\n"
    assert (installed.root / "usr/local/bin/edge-agent").resolve() == (
        installed.current / "bin/edge-agent"
    ).resolve()


def test_the_password_file_is_for_root_alone(installed: Installation) -> None:
    assert (installed.root / "etc/edge-agent/mqtt-password").stat().st_mode & 0o777 == 0o600
    assert installed.config.stat().st_mode & 0o777 == 0o640


def test_the_model_is_in_place_and_others_may_read_it(installed: Installation) -> None:
    sidecar = installed.root / "var/lib/edge-agent/model/model.json"
    assert sidecar.read_bytes() == (installed.model / "model.json").read_bytes()
    assert sidecar.stat().st_mode & 0o044 == 0o044


def test_the_memory_limits_follow_from_the_budget(installed: Installation) -> None:
    drop_in = installed.root / "etc/systemd/system/edge-agent.service.d/20-memory.conf"
    installed.config.write_text("memory:\n  budget_mb: 100\n")
    assert installed.install().returncode == 0
    assert "MemoryHigh=150M\nMemoryMax=200M\n" in drop_in.read_text()


def test_installing_again_keeps_release_model_and_an_edited_config(installed: Installation) -> None:
    installed.config.write_text("# mine\nmemory:\n  budget_mb: 100\n")
    before = (installed.current.readlink(), (installed.root / "var/lib/edge-agent/model").readlink())
    done = installed.install()
    assert done.returncode == 0, done.stderr
    assert (installed.current.readlink(), (installed.root / "var/lib/edge-agent/model").readlink()) == before
    assert installed.config.read_text().startswith("# mine\n")


def test_a_config_that_cannot_be_used_stops_the_run_before_the_switch(installed: Installation) -> None:
    good = installed.config.read_text()
    installed.config.write_text("memory:\n  budget_mb: plenty\n")
    before = installed.current.readlink()
    done = installed.install()
    installed.config.write_text(good)
    assert done.returncode == 1
    assert "budget_mb" in done.stdout
    assert installed.current.readlink() == before


def test_a_torchscript_file_becomes_the_model_without_torch(installed: Installation, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from tests.tools.builder.test_build_torchscript import small

    small(tmp_path)
    given = ("--weights", tmp_path / "small.pt", "--labels", tmp_path / "labels.txt")
    done = subprocess.run(
        [installed.checkout / "install.sh", "--root", installed.root, *given],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sidecar = json.loads((installed.root / "var/lib/edge-agent/model/model.json").read_text())
    assert (sidecar["arch"], sidecar["labels"]) == ("torchscript", ["a", "b", "c", "d"])
    python = installed.current / "bin/python"
    has_torch = subprocess.run([python, "-I", "-c", "import torch"], capture_output=True, check=False)
    assert has_torch.returncode == 1
    assert installed.install().returncode == 0
    assert (installed.current / "share/edge-agent/lean").exists()


def test_a_killed_run_leaves_the_old_release_and_the_next_one_ends_right(installed: Installation) -> None:
    set_version(installed.checkout, "1.1.0")
    before = installed.current.readlink()
    killed = subprocess.Popen(
        [installed.checkout / "install.sh", "--root", installed.root, "--lean", installed.model],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert killed.stdout is not None
    assert "1.1.0" in killed.stdout.readline()
    marks = installed.root / "opt/edge-agent/releases"
    while not list(marks.glob("*.unfinished")):
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert installed.current.readlink() == before

    done = installed.install()
    assert done.returncode == 0, done.stderr
    assert installed.current.readlink().name.startswith("1.1.0-")
    assert len(installed.releases) == 2, installed.releases


def test_two_runs_at_a_time_are_refused(installed: Installation) -> None:
    with (installed.root / "edge-agent-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = installed.install()
    assert done.returncode == 1
    assert "another install.sh is running" in done.stderr


def test_removal_keeps_what_is_the_owners_until_it_is_purged(installed: Installation) -> None:
    cache = installed.root / "var/cache/edge-agent"
    (cache / "python").mkdir(parents=True)
    done = run("--root", installed.root, "--uninstall")
    assert done.returncode == 0, done.stderr
    assert not (installed.root / "opt/edge-agent").exists()
    assert not (installed.root / "etc/systemd/system/edge-agent.service").exists()
    assert not (installed.root / "etc/systemd/system/edge-agent.service.d").exists()
    assert not cache.exists()
    assert installed.config.exists()
    assert run("--root", installed.root, "--uninstall", "--purge").returncode == 0
    assert not installed.config.parent.exists()
    assert not (installed.root / "var/lib/edge-agent").exists()

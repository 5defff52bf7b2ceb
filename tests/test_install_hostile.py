"""A prober of install.sh: what its surroundings may be, and what the service's user may have planted.

`make attack-test` plants more, and interrupts more often.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.model.sidecar import Artifact
from tests.installing import CHECKOUT, Board, Installation, copy_of_checkout
from tests.prober import KINDS, Surroundings, fingerprint, make_victim, plant, run_in, upgrade_past


@pytest.fixture
def hostile(tmp_path: Path) -> Surroundings:
    return Surroundings.make(tmp_path)


@pytest.mark.parametrize(
    "shell", [(), ("/bin/sh",), ("/bin/bash",), ("/bin/dash",), ("/bin/bash", "--posix")]
)
def test_any_shell_may_run_it_from_anywhere_and_no_trap_springs(
    hostile: Surroundings, shell: tuple[str, ...], lite0: Artifact, tmp_path: Path
) -> None:
    traps, mark, environment = hostile.traps, hostile.mark, hostile.environment
    if "bash" in "".join(shell):
        # bash itself reads these before it reads the script.
        environment = {
            name: value for name, value in environment.items() if name not in ("BASH_ENV", "SHELLOPTS")
        }
    root = tmp_path / "root"
    done = run_in(
        traps,
        [*shell, CHECKOUT / "install.sh", "--dry-run", "--root", root, "--lean", lite0.directory],
        environment,
    )
    assert done.returncode == 0, done.stderr
    assert "Dry run: nothing was changed" in done.stdout
    assert not mark.exists()


def test_it_runs_by_its_bare_name_too() -> None:
    done = subprocess.run(
        ["sh", "install.sh", "--help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage:")


def test_without_its_file_it_says_how_to_run_it() -> None:
    with (CHECKOUT / "install.sh").open() as script:
        done = subprocess.run(["sh"], stdin=script, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 2
    assert "run it as ./install.sh" in done.stderr


def test_git_gives_scripts_the_line_ends_that_run_whatever_the_checkout_is_made_on() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--eol"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if not listed:
        pytest.skip("this is not a checkout of git's")
    texts = [line for line in listed if not line.startswith("i/-text")]
    assert texts
    assert [line for line in texts if "eol=lf" not in line and not line.startswith("i/none")] == []


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the lock names for Debian's Python here."""
    directory = tmp_path_factory.mktemp("wheelhouse")
    python = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    lock = CHECKOUT / "requirements/board.lock"
    wanted = subprocess.run(
        [sys.executable, "-I", lock.with_suffix(".py"), "target", lock, "--", python],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = [line for line in wanted.splitlines() if not line.startswith("opencv")]
    (directory / "wanted").write_text("\n".join(lines))
    subprocess.run(
        [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "--require-hashes", "--python-version", python, "--dest", directory,
         "--requirement", directory / "wanted"],
        check=True,
    )  # fmt: skip
    return directory


def test_a_hostile_environment_changes_nothing_about_the_installation(
    hostile: Surroundings, lite0: Artifact, tmp_path: Path, wheelhouse: Path
) -> None:
    traps, mark, environment = hostile.traps, hostile.mark, hostile.environment
    made = Installation(tmp_path / "root", copy_of_checkout(tmp_path / "checkout"), lite0.directory)
    before = sorted(traps.iterdir())
    done = run_in(
        traps,
        [made.checkout / "install.sh", "--root", made.root, "--lean", made.model, "--offline", wheelhouse],
        environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not mark.exists()
    assert sorted(traps.iterdir()) == before

    # The service's user can read all of it, and nobody but root can write to it.
    for path in (made.root / "opt", *(made.root / "opt").rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            assert mode & 0o044 == 0o044, f"{path} {mode:o}"
            assert mode & 0o022 == 0, f"{path} {mode:o}"
            assert not path.is_dir() or mode & 0o011 == 0o011, f"{path} {mode:o}"

    # Debian's own Python, all packages where they belong, and a command that looks nowhere else.
    assert "home = /usr/bin\n" in (made.current / "pyvenv.cfg").read_text()
    assert list(made.current.glob("lib/python3*/site-packages/paho"))
    del environment["PYTHONHOME"]
    answer = run_in(traps, [made.current / "bin/edge-agent", "--version"], environment)
    assert answer.stdout.startswith("edge-agent "), answer.stderr
    assert not mark.exists()


def test_an_index_that_serves_another_file_is_refused_by_name(
    lite0: Artifact, tmp_path: Path, wheelhouse: Path
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    for wheel in wheelhouse.glob("*.whl"):
        content = wheel.read_bytes()
        (index / wheel.name).write_bytes(content + b"!" if wheel.name.startswith("paho") else content)
    # Where packages come from is the owner's to say, in pip's own configuration; where they go is not.
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        f"[global]\nno-index = true\nuser = true\n[install]\nfind-links = {index}\ntarget = {tmp_path}/t\n"
    )
    done = run_in(
        tmp_path,
        [CHECKOUT / "install.sh", "--root", tmp_path / "root", "--lean", lite0.directory],
        {"PATH": "/usr/bin:/bin", "PIP_CONFIG_FILE": str(configuration)},
    )
    assert done.returncode == 1
    assert "paho" in done.stderr
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "root/opt").exists() or not list((tmp_path / "root/opt").glob("*/releases/*"))


def test_a_tampered_wheel_in_the_wheelhouse_is_refused_by_name_before_anything_is_changed(
    lite0: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/PyYAML-6.0.4-cp311-cp311-linux_x86_64.whl").write_bytes(b"not what was locked")
    (tmp_path / "wheels/unrelated-1.0-py3-none-any.whl").write_bytes(b"of no interest")
    root = tmp_path / "root"
    done = run_in(
        tmp_path,
        [CHECKOUT / "install.sh", "--root", root, "--lean", lite0.directory, "--offline", "wheels"],
        {"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert "PyYAML-6.0.4-cp311-cp311-linux_x86_64.whl is not a file that the lock names" in done.stderr
    assert "unrelated" not in done.stderr
    assert not root.exists()


# --- what the service's user may have planted ---------------------------------------------------------------


@pytest.fixture(scope="module")
def installed_once(tmp_path_factory: pytest.TempPathFactory, lite0: Artifact) -> Board:
    board = Board.make(tmp_path_factory.mktemp("probed") / "board", lite0.directory)
    assert board.install().returncode == 0
    return board


@pytest.fixture
def board(installed_once: Board) -> Iterator[Board]:
    with installed_once.restored() as board:
        yield board


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    return make_victim(tmp_path / "victim")


@pytest.mark.parametrize(
    ("name", "kind"), [("model", "link to a directory"), ("model", "hard link"), ("models", "directory")]
)
def test_an_upgrade_touches_nothing_through_what_is_planted_in_the_state_directory(
    board: Board, victim: Path, name: str, kind: str
) -> None:
    upgrade_past(board, victim, name, kind)


def test_purging_removes_links_and_not_what_they_lead_to(board: Board, victim: Path) -> None:
    for number, kind in enumerate(KINDS):
        plant(kind, board.state / f"planted{number}", victim)
    before = fingerprint(victim)
    done = subprocess.run(
        [CHECKOUT / "install.sh", "--root", board.root, "--uninstall", "--purge"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not board.state.exists()
    assert fingerprint(victim) == before


def test_an_empty_release_that_counts_as_finished_is_not_used(board: Board) -> None:
    broken = board.current.resolve()
    (broken / "bin/edge-agent").unlink()
    done = board.install()
    assert done.returncode == 0, done.stdout
    assert board.current.resolve() != broken

"""A prober of install.sh: surroundings full of traps, and things planted for root to follow."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.installing import Board, set_version

_EVIL = 'import pathlib; pathlib.Path({mark!r}).touch(); raise SystemExit("imported")\n'
_MODULES = (
    "json",
    "ensurepip",
    "venv",
    "pip",
    "ast",
    "pathlib",
    "tomllib",
    "edge_agent",
    "numpy",
    "sitecustomize",
)
KINDS = (
    "link to a directory",
    "link to a file",
    "hard link",
    "pipe",
    "directory",
    "link to nowhere",
    "circle",
)
"""What `plant` can plant."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A directory full of traps, the mark that a trap leaves, and an environment that leads into them."""

    traps: Path
    mark: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, directory: Path) -> Surroundings:
        """Lay the traps below `directory`."""
        traps, mark = directory / "traps", directory / "mark"
        traps.mkdir()
        for name in _MODULES:
            (traps / f"{name}.py").write_text(_EVIL.format(mark=str(mark)))
        for name in ("python3", "python", "pip", "systemctl", "dpkg", "df", "mktemp", "install", "bash"):
            (traps / name).write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
            (traps / name).chmod(0o755)
        (traps / "bash_env").write_text(f"touch {mark}\n")
        (traps / "pip.conf").write_text(
            f"[global]\nuser = true\ntarget = {traps}/target\n[install]\nprefix = {traps}\n"
        )
        environment = {
            **os.environ,
            "PATH": f"{traps}:{os.environ['PATH']}",
            "PYTHONPATH": str(traps),
            "PYTHONHOME": str(traps),
            "PYTHONSTARTUP": str(traps / "json.py"),
            "PIP_USER": "1",
            "PIP_TARGET": str(traps / "target"),
            "PIP_PREFIX": str(traps),
            "PIP_CONFIG_FILE": str(traps / "pip.conf"),
            "PIP_CONSTRAINT": str(traps / "json.py"),
            "PIP_NO_DEPS": "0",
            "VIRTUAL_ENV": str(traps),
            "TMPDIR": str(traps / "nowhere"),
            "BASH_ENV": str(traps / "bash_env"),
            "ENV": str(traps / "bash_env"),
            "CDPATH": str(traps),
            "SHELLOPTS": "noexec",
            "BASH_FUNC_install%%": f"() {{ touch {mark}; }}",
            "GREP_OPTIONS": "-v",
        }
        return cls(traps, mark, environment)


def run_in(
    directory: Path, command: list[str | Path], environment: Mapping[str, str], umask: int = 0o077
) -> subprocess.CompletedProcess[str]:
    """Run a command in that directory, with that environment and no other."""
    return subprocess.run(
        command, cwd=directory, env=environment, umask=umask, capture_output=True, text=True, check=False
    )


def make_victim(directory: Path) -> Path:
    """A directory of somebody else's, with things in it that root could harm."""
    (directory / "inner").mkdir(parents=True)
    (directory / "inner/file").write_text("precious")
    (directory / "model.json").write_text("precious")
    (directory / "secret").write_text("precious")
    (directory / "secret").chmod(0o600)
    return directory


def fingerprint(directory: Path) -> dict[str, tuple[int, int, str]]:
    """Modes, times and contents of all that is in a directory."""
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in (directory, *sorted(directory.rglob("*")))
    }


def plant(kind: str, place: Path, victim: Path) -> None:
    """Put one of KINDS in `place`, as the service's user could: it leads to `victim`, or nowhere good."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    if kind == "link to a directory":
        place.symlink_to(victim)
    elif kind == "link to a file":
        place.symlink_to(victim / "secret")
    elif kind == "hard link":
        place.hardlink_to(victim / "secret")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
        (place / "model.json").write_text("{}")
    elif kind == "link to nowhere":
        place.symlink_to(victim / "made-by-root")
    else:
        place.symlink_to(place)


def upgrade_past(board: Board, victim: Path, name: str, kind: str) -> None:
    """Plant something in the state directory, upgrade twice, and check that nothing else was touched."""
    if name == "models":
        # As an older install.sh left it: the models lay in the service's own directory.
        plant("link to a directory", board.state / "model", victim)
    plant(kind, board.state / name, victim)
    before = fingerprint(victim)
    other = board.stand_ins / "other-model"
    shutil.copytree(board.model, other)
    sidecar = other / "model.json"
    sidecar.write_bytes(sidecar.read_bytes().replace(b"efficientnet_lite0", b"efficientnet_lite1", 1))
    set_version(board.checkout, "1.1.0")
    for _ in range(2):  # the second run clears away what an older one left
        done = board.install("--lean", other)
        assert done.returncode == 0, done.stdout
    assert fingerprint(victim) == before
    assert (board.state / "model/model.json").read_bytes() == sidecar.read_bytes()
    assert (board.state / "model").readlink() == board.root / "var/lib/edge-agent-models/current"

"""What a board may install: locked for every Python and machine, and nothing that Debian has already."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from pip._vendor.packaging.requirements import Requirement

from tests.installing import CHECKOUT

REQUIREMENTS = CHECKOUT / "requirements"
LEAN, TORCH = REQUIREMENTS / "board.lock", REQUIREMENTS / "board-torch.lock"
ENVIRONMENTS = [
    (python, machine) for python in ("3.11", "3.12", "3.13", "3.14") for machine in ("aarch64", "x86_64")
]


def _board() -> ModuleType:
    spec = importlib.util.spec_from_file_location("board", REQUIREMENTS / "board.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["board"] = module
    spec.loader.exec_module(module)
    return module


board = _board()


@pytest.mark.parametrize(("python", "machine"), ENVIRONMENTS)
@pytest.mark.parametrize(("locks", "extras"), [([LEAN], ["opencv"]), ([LEAN, TORCH], ["opencv", "torch"])])
def test_the_lock_fits_what_the_project_asks_for_on_every_board(
    python: str, machine: str, locks: list[Path], extras: list[str]
) -> None:
    """`requirements/lock-board` makes it fit again."""
    locked = {found.name: found.version for found in board.target(board.read(locks), python, machine)}
    environment = {"platform_machine": machine, "python_version": python, "extra": ""}
    for line in board.requirements(CHECKOUT / "pyproject.toml", extras):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(environment):
            assert wanted.specifier.contains(locked[board.canonical(wanted.name)]), line
    assert "setuptools" in locked


def test_one_board_gets_one_version_of_each() -> None:
    for python, machine in ENVIRONMENTS:
        locked = list(dict.fromkeys(map(str, board.target(board.read([LEAN, TORCH]), python, machine))))
        names = [line.split("==")[0] for line in locked]
        assert sorted(set(names)) == sorted(names)


def test_the_lock_names_no_index() -> None:
    assert not [line for lock in (LEAN, TORCH) for line in lock.read_text().splitlines() if "//" in line]


@pytest.mark.parametrize("line", ["numpy", "numpy==2.4.6", "numpy>=2 --hash=sha256:" + "0" * 64])
def test_a_line_without_version_or_hash_is_refused(line: str, tmp_path: Path) -> None:
    lock = tmp_path / "board.lock"
    lock.write_text(f"# a comment\n{line}\n")
    with pytest.raises(board.LockError, match="without a version or without hashes"):
        board.read([lock])


def test_what_is_needed_and_not_locked_is_named() -> None:
    with pytest.raises(board.LockError, match="left-pad is needed and not locked"):
        list(board.named(board.read([LEAN]), ["left-pad"]))


class Installed(metadata.Distribution):
    """A package that is installed somewhere."""

    def __init__(self, version: str, place: Path, requires: tuple[str, ...] = ()) -> None:
        self._version, self._place, self._requires = version, place, list(requires)

    @property
    def version(self) -> str:
        return self._version

    @property
    def requires(self) -> list[str]:
        return self._requires

    def read_text(self, _filename: str) -> str | None:
        return None

    def locate_file(self, path: object) -> Path:
        return self._place / str(path)


DEBIAN, RELEASE = Path("/usr/lib/python3/dist-packages"), Path(sys.prefix) / "lib/python3/site-packages"


def unmet(wanted: list[str], installed: dict[str, Installed]) -> list[str]:
    def find(name: str) -> metadata.Distribution:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    return sorted(board.unmet(wanted, find))


def test_debians_numpy_stays_where_it_will_do() -> None:
    debian = {"numpy": Installed("1.24.2", DEBIAN), "paho-mqtt": Installed("1.6.1", DEBIAN)}
    assert unmet(["numpy>=1.24", "paho-mqtt>=2.1,<3", "inotify_simple>=1.3"], debian) == [
        "inotify_simple",
        "paho-mqtt",
    ]


def test_what_was_installed_is_asked_for_its_own_needs_and_what_debian_brought_is_not() -> None:
    installed = {
        "torch": Installed("2.10.0", RELEASE, ("sympy>=1.13", "nothing; extra == 'more'", "numpy>=1.24")),
        "numpy": Installed("1.24.2", DEBIAN, ("not-looked-at",)),
    }
    assert unmet(["torch>=2.9", "numpy>=1.24"], installed) == ["sympy"]


def test_opencv_is_one_that_takes_debians_numpy() -> None:
    """Debian 12 has NumPy 1.24, and OpenCV from 4.12 on needs 2."""
    versions = {found.version for found in board.read([LEAN]) if found.name == "opencv-python-headless"}
    assert versions
    assert all(version.startswith(("4.10.", "4.11.")) for version in versions)

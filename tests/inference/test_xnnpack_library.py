"""Finding libXNNPACK, and telling the releases whose functions are known from the others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import EngineError
from edge_agent.inference.xnnpack import library as finder
from edge_agent.inference.xnnpack.library import (
    DEBIAN_12,
    DEBIAN_13,
    UnavailableError,
    XnnpackError,
    open_library,
    status_text,
)
from tests.installed import needs_xnnpack


def installed() -> Path:
    """The file of the installed library, as the dynamic linker mapped it."""
    open_library()
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libXNNPACK" in line:
            return Path(line.split()[-1])
    raise AssertionError("the library is not mapped")


@needs_xnnpack
def test_the_installed_library_is_one_of_the_known_releases() -> None:
    assert open_library().release in (DEBIAN_12, DEBIAN_13)


@needs_xnnpack
def test_a_library_can_be_given_by_its_path() -> None:
    assert open_library(installed()).release == open_library().release


@needs_xnnpack
def test_an_unknown_release_is_refused_with_its_soname(tmp_path: Path) -> None:
    newer = tmp_path / "libXNNPACK.so.0.20990101"
    shutil.copy(installed(), newer)
    with pytest.raises(EngineError, match=r"libXNNPACK\.so\.0\.20990101 is not a release .* knows"):
        open_library(newer)


@needs_xnnpack
def test_a_link_to_an_unknown_release_does_not_hide_it(tmp_path: Path) -> None:
    newer = tmp_path / "libXNNPACK.so.0.20990101"
    shutil.copy(installed(), newer)
    link = tmp_path / DEBIAN_12.soname
    link.symlink_to(newer)
    with pytest.raises(EngineError, match=r"20990101 is not a release"):
        open_library(link)


@needs_xnnpack
def test_a_known_name_with_other_functions_is_refused(tmp_path: Path) -> None:
    other = DEBIAN_13 if open_library().release == DEBIAN_12 else DEBIAN_12
    disguised = tmp_path / other.soname
    shutil.copy(installed(), disguised)
    with pytest.raises(EngineError, match="has the name of a release that is known, but not its functions"):
        open_library(disguised)


def test_a_file_that_is_not_a_library_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / DEBIAN_12.soname
    path.write_bytes(b"not a library")
    with pytest.raises(EngineError, match=f"{path} cannot be loaded"):
        open_library(path)


def test_a_missing_library_is_said_with_the_packages_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "RELEASES", ())
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    with pytest.raises(EngineError, match="apt install libxnnpack0"):
        open_library()


def test_a_newer_release_that_is_installed_alone_is_refused_with_its_soname(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finder, "RELEASES", ())
    monkeypatch.setattr("ctypes.util.find_library", lambda _: "libXNNPACK.so.0.20990101")
    with pytest.raises(EngineError, match=r"libXNNPACK\.so\.0\.20990101 is not a release"):
        open_library()


@needs_xnnpack
def test_a_status_becomes_an_error_with_its_meaning() -> None:
    with pytest.raises(XnnpackError, match=r"xnn_delete_operator failed: invalid parameter \(2\)"):
        open_library().call("xnn_delete_operator", "p", None)


@needs_xnnpack
def test_a_function_that_the_library_lacks_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="has no function xnn_create_everything"):
        open_library().call("xnn_create_everything", "p", None)


def test_a_status_of_the_future_is_shown_by_its_number() -> None:
    assert status_text(99) == "unknown status (99)"


@needs_xnnpack
def test_a_cpu_or_a_proc_that_the_library_cannot_work_with_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object, name: str, *__: object) -> None:
        raise UnavailableError(f"{name} failed: {status_text(5)}")

    monkeypatch.setattr(finder.Library, "call", refuse)
    with pytest.raises(EngineError, match="/proc/cpuinfo"):
        open_library()


def test_importing_the_engine_loads_neither_torch_nor_opencv() -> None:
    code = (
        "import sys, edge_agent.inference.xnnpack; print({'torch', 'torchvision', 'cv2'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "set()"

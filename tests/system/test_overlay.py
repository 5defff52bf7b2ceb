"""A file system that forgets with the next boot is known by what the kernel says about its mounts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.system import overlay

_DISK = "22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n"
_OVERLAY = "22 1 0:25 / / rw,relatime - overlay overlayroot rw,lowerdir={lower},upperdir={upper},workdir=/w\n"


def proc(directory: Path, mounts: str, command_line: str = "console=tty1 root=PARTUUID=1") -> Path:
    (directory / "self").mkdir()
    (directory / "self/mountinfo").write_text(mounts)
    (directory / "cmdline").write_text(command_line)
    return directory


def test_a_disk_keeps_what_is_written(tmp_path: Path) -> None:
    assert overlay.forgotten(Path("/opt/edge-agent"), proc(tmp_path, _DISK)) == ""


@pytest.mark.parametrize(
    ("mounts", "command_line"),
    [
        (_OVERLAY.format(lower="/lower", upper="/upper/data"), "console=tty1 boot=overlay"),
        (_OVERLAY.format(lower="/lower", upper="/upper/data"), "overlayroot=tmpfs:recurse=0 quiet"),
        (
            "20 22 0:24 / /media/root-rw rw - tmpfs tmpfs-root rw\n"
            + _OVERLAY.format(lower="/media/root-ro", upper="/media/root-rw/overlay"),
            "quiet",
        ),
    ],
)
def test_an_overlay_in_memory_is_found_with_the_way_out(
    mounts: str, command_line: str, tmp_path: Path
) -> None:
    said = overlay.forgotten(Path("/opt/edge-agent"), proc(tmp_path, mounts, command_line))
    assert "raspi-config nonint disable_overlayfs" in said


@pytest.mark.parametrize(
    ("mounts", "command_line"),
    [
        (_OVERLAY.format(lower="/l", upper="/var/lib/containers/1/diff"), "quiet"),
        (_OVERLAY.format(lower="/l", upper="/data/upper"), "overlayroot=/dev/mmcblk0p3"),
        (_OVERLAY.format(lower="/l", upper="/data/upper"), "overlayroot=disabled"),
        ("", ""),
        ("nonsense\n22 1 - \n", ""),
    ],
)
def test_an_overlay_on_a_disk_keeps_what_is_written(mounts: str, command_line: str, tmp_path: Path) -> None:
    assert overlay.forgotten(Path("/opt/edge-agent"), proc(tmp_path, mounts, command_line)) == ""


def test_a_directory_in_memory_is_named(tmp_path: Path) -> None:
    mounts = _DISK + "40 22 0:31 / /var/lib/edge\\040agent rw - tmpfs tmpfs rw\n"
    said = overlay.forgotten(Path("/var/lib/edge agent/state"), proc(tmp_path, mounts))
    assert said.startswith("/var/lib/edge agent lies in memory (tmpfs)")


def test_a_disk_mounted_over_the_overlay_keeps_what_is_written(tmp_path: Path) -> None:
    mounts = _OVERLAY.format(lower="/l", upper="/u") + "41 22 8:1 / /opt rw - ext4 /dev/sda1 rw\n"
    assert overlay.forgotten(Path("/opt/edge-agent"), proc(tmp_path, mounts, "boot=overlay")) == ""


def test_it_runs_without_the_package_around_it() -> None:
    done = subprocess.run(
        [sys.executable, "-I", overlay.__file__, "/dev/shm"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "" or "/dev/shm lies in memory" in done.stdout

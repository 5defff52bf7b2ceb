"""Two agents never share a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import EXIT_FAILURE, InUseError
from edge_agent.system.lock import DirectoryLock, is_held


def test_the_second_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path / "state")
    with pytest.raises(
        InUseError, match=f"another agent runs with the state directory {tmp_path}/state"
    ) as it:
        DirectoryLock(tmp_path / "state")
    assert it.value.exit_code == EXIT_FAILURE
    first.close()
    DirectoryLock(tmp_path / "state").close()


def test_a_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from edge_agent.system.lock import DirectoryLock;"
        " DirectoryLock(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -9
    DirectoryLock(tmp_path).close()


def test_a_directory_that_cannot_be_made_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    DirectoryLock(tmp_path / "file" / "state").close()
    DirectoryLock(tmp_path / "file").close()


def test_others_can_ask_who_is_there_without_keeping_anybody_out(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    lock = DirectoryLock(tmp_path)
    assert is_held(tmp_path)
    lock.close()
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "nowhere")
    assert not is_held(tmp_path, locks=tmp_path / "no proc")


def test_the_files_of_a_device_that_is_none_may_have_another_minor_number(tmp_path: Path) -> None:
    status = tmp_path.stat()
    locks = tmp_path / "locks"
    for device, expected in ((status.st_dev, True), (os.makedev(8, 1), False)):
        major, minor = os.major(device), os.minor(device)
        locks.write_text(
            "1: OFDLCK ADVISORY  READ -1 00:05:1080 0 EOF\n"
            f"2: POSIX  ADVISORY  WRITE 9 {major:02x}:{minor:02x}:{status.st_ino} 0 EOF\n"
            f"3: FLOCK  ADVISORY  WRITE 7 {major:02x}:{minor:02x}:{status.st_ino} 0 EOF\n"
            f"3: -> FLOCK  ADVISORY  WRITE 8 {major:02x}:{minor:02x}:{status.st_ino} 0 EOF\n"
        )
        assert is_held(tmp_path, locks) == expected

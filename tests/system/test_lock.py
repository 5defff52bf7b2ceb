"""Two agents never share a directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import EXIT_FAILURE, InUseError
from edge_agent.system.lock import DirectoryLock


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

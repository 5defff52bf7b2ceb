"""What the service imports is compiled before it starts, and again after an update."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import EXIT_OK
from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.conftest import Ask, StartDaemon
from tests.daemon.helpers import receive


def interpreter(directory: Path) -> tuple[str, ...]:
    return ("-OO", "-X", f"pycache_prefix={directory}", "-m")


def prepare(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *interpreter(directory), "edge_agent.tools.compiled"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        capture_output=True,
        text=True,
        check=False,
    )


def stamps(directory: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in directory.rglob("*.pyc")}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("compiled")
    done = prepare(directory)
    assert done.returncode == 0, done.stderr
    return directory


def one_of(directory: Path, name: str) -> Path:
    (file,) = directory.rglob(f"{name}.*.opt-2.pyc")
    return file


def test_the_agent_then_compiles_nothing(
    compiled: Path,
    start: StartDaemon,
    subscriber: Subscriber,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    before = stamps(compiled)
    program = (*interpreter(compiled), "edge_agent")
    daemon = start(program=program, control={"enabled": True})
    receive(subscriber, "health")
    ask("teach/add", label="open")
    daemon.edit(stabilizer={"window": 3})
    receive(subscriber, "health")
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == EXIT_OK
    assert stamps(compiled) == before


def test_what_is_complete_is_left_alone(compiled: Path) -> None:
    before = stamps(compiled)
    assert prepare(compiled).returncode == 0
    assert stamps(compiled) == before


@pytest.mark.parametrize("damage", ["another source", "half a file", "interrupted"])
def test_what_is_stale_damaged_or_unfinished_is_compiled_again(compiled: Path, damage: str) -> None:
    file = one_of(compiled, "payloads")
    good = file.read_bytes()
    match damage:
        case "another source":
            file.write_bytes(good[:8] + b"\0" * 8 + good[16:])
        case "half a file":
            file.write_bytes(good[:5])
        case "interrupted":
            (compiled / "complete").unlink()
            file.unlink()
    assert prepare(compiled).returncode == 0
    assert file.read_bytes() == good
    assert (compiled / "complete").is_file()


def test_what_has_no_source_any_more_is_removed(compiled: Path) -> None:
    orphan = one_of(compiled, "payloads").with_name(f"gone.{sys.implementation.cache_tag}.opt-2.pyc")
    orphan.write_bytes(b"\0" * 16)
    assert prepare(compiled).returncode == 0
    assert not orphan.exists()


def test_a_directory_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = prepare(tmp_path / "file" / "python")
    assert done.returncode == 1
    assert done.stderr.strip() == f"{tmp_path}/file/python: Not a directory"


def test_without_a_directory_it_says_how_to_name_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.tools.compiled"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "-X pycache_prefix=DIR" in done.stderr

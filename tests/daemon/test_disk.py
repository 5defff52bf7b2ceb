"""Nothing is written to the disk while the agent works and its broker is there: SD cards wear out."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edge_agent.tools.demo.subscriber import Subscriber
from tests.daemon.helpers import START_S, receive
from tests.daemon.process import Daemon
from tests.installed import program
from tests.mqtt.brokers import Mosquitto, wait_until

MEMORY = Path("/dev/shm")
LABEL_CHANGES = 20

_CHANGES_FILES = (
    "write,writev,pwrite64,pwritev,pwritev2,sendfile,copy_file_range,ftruncate,fallocate,fsync,fdatasync,"
    "?creat,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?link,linkat"
)
# `write(5</dev/shm/x>, ...` and `unlinkat(AT_FDCWD, "/var/x", 0)`; not sockets, pipes and eventfds.
_PATH = re.compile(r'<(/[^>]*)>|"(/[^"]*)"')


@dataclass(frozen=True, slots=True)
class Written:
    """What a process has had written to disks so far, and what its files look like."""

    written_bytes: int
    cancelled_bytes: int
    files: tuple[tuple[str, int, int], ...]
    """Name, size, and time of the last change in nanoseconds."""

    @classmethod
    def by(cls, daemon: Daemon) -> Written:
        lines = Path(f"/proc/{daemon.pid}/io").read_text().splitlines()
        counts = {name: int(count) for name, count in (line.split(": ") for line in lines)}
        found = sorted(path for path in daemon.directory.rglob("*") if path.is_file())
        files = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found)
        return cls(counts["write_bytes"], counts["cancelled_write_bytes"], files)


@pytest.fixture
def settled(
    tmp_path: Path, settings: dict[str, Any], subscriber: Subscriber
) -> Iterator[tuple[Daemon, Subscriber]]:
    """A daemon with its run-time files in memory, as a service's are, that has got past its start."""
    if not MEMORY.is_dir():
        pytest.skip(f"{MEMORY} is not there: no file system in memory to put the run-time files on")
    settings["source"]["fps"] = 10  # or the next sequence numbers would be due within seconds
    with tempfile.TemporaryDirectory(dir=MEMORY) as runtime:
        daemon = Daemon(tmp_path / "daemon", settings)
        daemon.runtime_dir = Path(runtime)
        daemon.start()
        try:
            # Its last word in the log for months, and the tests' log is a file.
            wait_until(lambda: "memory trimmed" in daemon.log, START_S)
            receive(subscriber, "health")
            yield daemon, subscriber
        finally:
            daemon.kill()


def work(subscriber: Subscriber, label_changes: int) -> None:
    """Wait until so many labels have changed from now on, an event and a state each."""
    now_s = time.time()
    receive(subscriber, "event", lambda event: datetime.fromisoformat(event["ts"]).timestamp() > now_s)
    for _ in range(label_changes):
        receive(subscriber, "event")


def test_nothing_is_written_while_frames_are_classified_and_labels_change(
    settled: tuple[Daemon, Subscriber],
) -> None:
    daemon, subscriber = settled
    before = Written.by(daemon)
    assert any(name.endswith("sequence") for name, _, _ in before.files)
    work(subscriber, LABEL_CHANGES)
    receive(subscriber, "health")
    assert Written.by(daemon) == before


def test_without_the_broker_events_are_written_so_that_the_measurement_would_see_a_write(
    settled: tuple[Daemon, Subscriber], broker: Mosquitto
) -> None:
    daemon, _ = settled
    before = Written.by(daemon)
    broker.send(signal.SIGSTOP)
    wait_until(lambda: Written.by(daemon).written_bytes > before.written_bytes, START_S)
    assert Written.by(daemon).files != before.files


def test_no_system_call_changes_a_file_on_the_disk(
    settled: tuple[Daemon, Subscriber], tmp_path: Path
) -> None:
    daemon, subscriber = settled
    trace = tmp_path / "trace"
    command: list[str] = [
        program("strace"),
        "-f",
        "-y",
        "-e",
        f"trace={_CHANGES_FILES}",
        "-o",
        str(trace),
        "-p",
        str(daemon.pid),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "attached" not in said:
            pytest.skip(f"strace may not trace here: {said}")
        work(subscriber, LABEL_CHANGES)
        strace.send_signal(signal.SIGINT)
        strace.stderr.read()
    paths = [path for line in trace.read_text().splitlines() for path in changed_files(line)]
    assert any(path.is_relative_to(daemon.runtime_dir) for path in paths)  # or it has seen nothing at all
    assert [path for path in paths if not path.is_relative_to(MEMORY)] == []


def changed_files(line: str) -> list[Path]:
    """The files that a traced system call changes, by their paths."""
    call, _, result = line.rpartition(" = ")
    arguments = re.split(r', "', call)[0] if "write" in call else call  # the text written is no path
    paths = [Path(by_number or by_name) for by_number, by_name in _PATH.findall(arguments)]
    return [] if result.startswith("-1") else [path for path in paths if not path.is_relative_to("/dev/null")]

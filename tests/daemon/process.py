"""The real daemon as a child process, with a configuration of the test's making."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

_TIMEOUT_S = 60.0


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        is_section = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if is_section else value
    return result


class Daemon:
    """`edge-agent run` with its files under one directory; ends with the test."""

    def __init__(
        self, directory: Path, settings: dict[str, Any], *arguments: str, program: tuple[str, ...] = ()
    ) -> None:
        """`program` replaces `python -m edge_agent`: a script that calls the same command line."""
        self.directory = directory
        self.settings = settings
        self.config = directory / "edge-agent.yaml"
        self.log_file = directory / "log"
        self.state_dir = directory / "state"
        self.runtime_dir = self.state_dir / "run"
        """A test may name another one before `start`, for instance in memory, where a service has it."""
        self._arguments = arguments
        self._program = program or ("-m", "edge_agent")
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.write(settings)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def write(self, settings: dict[str, Any]) -> None:
        """Save the configuration as an editor does: a new file, renamed over the old one."""
        unfinished = self.config.with_suffix(".new")
        unfinished.write_text(yaml.safe_dump(settings, sort_keys=False))
        unfinished.replace(self.config)

    def edit(self, **changes: Any) -> None:
        """Change some settings, and save."""
        self.settings = merged(self.settings, changes)
        self.write(self.settings)

    def start(self) -> None:
        environment = os.environ | {
            "STATE_DIRECTORY": str(self.state_dir),
            "RUNTIME_DIRECTORY": str(self.runtime_dir),
        }
        command = [sys.executable, *self._program, "run", "--config", str(self.config), *self._arguments]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = _TIMEOUT_S) -> int:
        """Wait for the end; returns the exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def terminate(self) -> tuple[int, float]:
        """Ask for the end; returns the exit code, and the seconds that it took."""
        started_s = time.monotonic()
        self.send(signal.SIGTERM)
        return self.wait(), time.monotonic() - started_s

    def kill(self) -> None:
        if self.running:
            self.send(signal.SIGKILL)
            self.wait()

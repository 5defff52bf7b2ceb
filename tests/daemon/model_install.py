"""Runs `edge-agent model install` beside a daemon, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.daemon.process import Daemon


def begun(daemon: Daemon, *words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_agent", "model", "install", *words, "--config", daemon.config]
    environment = os.environ | {"STATE_DIRECTORY": str(daemon.state_dir)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def run(daemon: Daemon, *words: str | Path) -> subprocess.CompletedProcess[str]:
    with begun(daemon, *words) as process:
        _, said = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, "", said)

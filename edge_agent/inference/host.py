"""What a model can be run with on this machine: its CPU, and the libraries that are installed."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_agent.board import Board, Cpu
from edge_agent.errors import EngineError

MOST_DEFAULT_THREADS = 4


@dataclass(frozen=True, slots=True)
class Host:
    """What a model can be run with here."""

    cpu: Cpu
    usable_cores: int
    xnnpack: str
    """The library's soname; empty where there is none."""
    xnnpack_problem: str
    """Why there is none; empty where there is."""
    torch: str
    """The version; empty where torch is not installed."""

    @property
    def default_threads(self) -> int:
        return min(self.usable_cores, MOST_DEFAULT_THREADS)


def read_host(board: Board | None = None) -> Host:
    """Look at the CPU and the installed libraries. Imports no engine; opens libXNNPACK where there is one."""
    soname, problem = _find_xnnpack()
    cpu = (board or Board()).cpu()
    return Host(cpu, len(os.sched_getaffinity(0)), soname, problem, torch_version())


def torch_version() -> str:
    """The version of the installed torch, which is not imported; empty where there is none."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    found = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)", text, re.MULTILINE)
    return found.group(1) if found else "unknown"


def _find_xnnpack() -> tuple[str, str]:
    from edge_agent.inference.xnnpack.library import open_library

    try:
        return open_library().release.soname, ""
    except EngineError as error:
        return "", str(error)

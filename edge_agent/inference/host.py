"""The CPU and the installed libraries that a model can be run with on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from edge_agent.errors import EngineError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import Precision
from edge_agent.system.board import Board, Cpu

MOST_DEFAULT_THREADS = 4


@dataclass(frozen=True, slots=True)
class Host:
    """The CPU and the libraries of this machine."""

    cpu: Cpu
    usable_cores: int
    xnnpack: str
    """The library's soname; empty where there is none."""
    xnnpack_problem: str
    """Why there is none; empty where there is."""
    torch: str
    """The version; empty where torch is not installed."""
    torch_cuda: str = ""
    """The CUDA version that this torch was built for; empty for a CPU build."""
    fastest_cores: tuple[int, ...] = ()
    """The usable cores that are faster than others; empty where all are alike."""
    native: str = ""
    """The native kernels for this CPU; empty where there are none."""
    native_problem: str = "not looked for"
    """Why there are none; empty where there are."""
    native_fp16: str = ""
    """Those that compute in FP16; empty where this CPU has no such arithmetic."""

    @property
    def default_threads(self) -> int:
        return min(self.usable_cores, MOST_DEFAULT_THREADS)


def read_host(board: Board | None = None) -> Host:
    """Look at the CPU and the installed libraries. Imports no engine, but opens libXNNPACK if installed."""
    native, native_problem = _find_native("fp32")
    native_fp16, _ = _find_native("fp16")
    soname, problem = _find_xnnpack()
    board = board or Board()
    torch = installed_torch()
    usable = os.sched_getaffinity(0)
    fastest = tuple(core for core in board.fastest_cores() if core in usable)
    return Host(
        board.cpu(),
        len(usable),
        soname,
        problem,
        torch.version,
        torch.cuda,
        fastest,
        native,
        native_problem,
        native_fp16,
    )


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """The installed torch: its version and CUDA version, each empty where there is none."""

    version: str
    cuda: str


def installed_torch() -> TorchBuild:
    """Find out which torch is installed without importing it, which would cost 200 MB."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return TorchBuild("", "")
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        text = ""
    return parse_torch_version(text)


def parse_torch_version(text: str) -> TorchBuild:
    """Read torch's own version.py: assignments of literals, with or without annotations."""
    return TorchBuild(_assigned(text, "__version__") or "unknown", _assigned(text, "cuda"))


def _find_native(arithmetic: Precision) -> tuple[str, str]:
    from edge_agent.inference.native.library import open_library

    try:
        return open_library(arithmetic=arithmetic).title, ""
    except EngineError as error:
        return "", str(error)


def _find_xnnpack() -> tuple[str, str]:
    from edge_agent.inference.xnnpack.library import open_library

    try:
        return open_library().release.soname, ""
    except EngineError as error:
        return "", str(error)


def _assigned(text: str, name: str) -> str:
    found = re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.MULTILINE)
    return found.group(1) if found else ""

"""What tests and benchmarks need of the machine: where it is, and what a test does without it."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
from importlib.util import find_spec
from typing import Any

import pytest

from edge_agent.errors import EngineError
from edge_agent.inference.native.library import open_library
from edge_agent.inference.xnnpack.library import RELEASES


def find(program: str) -> str | None:
    """Its path, also below /usr/sbin: there Debian has mosquitto, and no ordinary user's PATH leads there."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def program(name: str) -> str:
    """Its path; skips the test that asks where it is not installed."""
    path = find(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def has_xnnpack() -> bool:
    """Whether there is a libXNNPACK, of whatever release."""
    return any(_loads(release.soname) for release in RELEASES) or bool(ctypes.util.find_library("XNNPACK"))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_native() -> bool:
    """Whether kernels were compiled that this CPU can run."""
    try:
        open_library()
    except EngineError:
        return False
    return True


needs_native = pytest.mark.skipif(not has_native(), reason="the native kernels are not compiled")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
needs_xnnpack = pytest.mark.skipif(not has_xnnpack(), reason="libXNNPACK is not installed")


def needing(mark: pytest.MarkDecorator, value: Any) -> Any:
    """A parameter of a test that is skipped where something is missing."""
    return pytest.param(value, marks=mark)

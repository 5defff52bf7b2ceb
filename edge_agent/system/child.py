"""How this program starts a module of its own in another process."""

from __future__ import annotations

import sys


def python_module(module: str, *arguments: str) -> list[str]:
    """The command, with this Python. The current directory may be anybody's: nothing is imported from it."""
    return [sys.executable, "-I" if sys.flags.isolated else "-P", "-m", module, *arguments]

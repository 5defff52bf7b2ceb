"""Compiles what the service imports before it starts, so that the agent itself compiles nothing.

  python -I -OO -X pycache_prefix=DIR -m edge_agent.tools.compiled

Without docstrings and assertions (-OO) the agent takes 2 MB less, but neither pip nor Debian compile modules
that way, and a process that compiles them itself keeps much of what that took. So the unit has another one do
it. That ends at once while DIR holds all that is needed; else, after an update of the agent, of Python or of
a library, it imports every module that the agent may import.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import edge_agent

_NOT_FOR_THE_AGENT = ("edge_agent.tools", "edge_agent.commands")
_WHEN_NEEDED = (
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "PIL.WebPImagePlugin",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cv2",
    "difflib",
    "encodings.idna",
    "encodings.utf_8_sig",
    "inotify_simple",
    "picamera2",
    "sqlite3",
    "ssl",
    "subprocess",
)
"""Of other libraries: what is imported by name, or inside a function. Not every board has all of them."""
_DONE = "complete"
_STAMP = slice(8, 16)  # of a compiled file: the time and the size of its source


def is_complete(directory: Path) -> bool:
    """Whether everything was compiled, and no source has changed since."""
    files = [*directory.rglob("*.pyc")]
    return (directory / _DONE).is_file() and bool(files) and all(_is_fresh(file) for file in files)


def compile_all(directory: Path) -> None:
    """Import what the agent may import, which this Python keeps below `directory`; remove what is stale.

    Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _DONE).unlink(missing_ok=True)
    for module in (*_own_modules(), *_WHEN_NEEDED):
        with contextlib.suppress(Exception):  # not here, or broken: the agent says so where it needs it
            importlib.import_module(module)
    for file in directory.rglob("*.pyc"):
        if not _is_fresh(file):
            file.unlink()
    (directory / _DONE).touch()


def _own_modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(edge_agent.__path__, "edge_agent."):
        if not module.name.startswith(_NOT_FOR_THE_AGENT):
            yield module.name
    yield "edge_agent.commands.run"


def _is_fresh(file: Path) -> bool:
    """Whether it was made by this Python, of the source as it is now (PEP 3147 and PEP 552)."""
    try:
        source = Path(importlib.util.source_from_cache(str(file))).stat()
        with file.open("rb") as opened:
            head = opened.read(_STAMP.stop)
    except (OSError, ValueError):
        return False
    stamp = b"".join(_four_bytes(number) for number in (source.st_mtime, source.st_size))
    return head.startswith(importlib.util.MAGIC_NUMBER) and head[_STAMP] == stamp


def _four_bytes(number: float) -> bytes:
    return (int(number) & 0xFFFFFFFF).to_bytes(4, "little")


def main() -> int:
    if sys.pycache_prefix is None:
        sys.exit("name the directory to compile into: python -X pycache_prefix=DIR")
    directory = Path(sys.pycache_prefix)
    try:
        if not is_complete(directory):
            compile_all(directory)
    except OSError as error:
        sys.exit(f"{error.filename or directory}: {error.strerror or error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

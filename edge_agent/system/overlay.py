"""Whether what is written to a directory is still there after a reboot: a file system in memory forgets it.

install.sh runs this file on its own, before anything is installed: nothing but the standard library is used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_IN_MEMORY = ("tmpfs", "ramfs")
_OVERLAY = (
    "the overlay file system is on and keeps changes in memory:"
    " switch it off (`sudo raspi-config nonint disable_overlayfs`) and reboot"
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system, as /proc/self/mountinfo describes it."""

    point: Path
    kind: str
    options: str
    """The file system's own, joined by commas."""


def forgotten(path: Path, proc: Path = Path("/proc")) -> str:
    """Why what is written to `path` is gone after a reboot, and what to do; empty where it stays."""
    try:
        mounts = _mounts((proc / "self/mountinfo").read_text(encoding="utf-8", errors="replace"))
        command_line = (proc / "cmdline").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return ""
    mount = _mount_of(path.resolve(), mounts)
    if mount is None:
        return ""
    if mount.kind in _IN_MEMORY:
        return f"{mount.point} lies in memory ({mount.kind}): mount a disk there"
    if mount.kind == "overlay" and _keeps_changes_in_memory(mount, mounts, command_line):
        return _OVERLAY
    return ""


def _keeps_changes_in_memory(overlay: Mount, mounts: Sequence[Mount], command_line: Sequence[str]) -> bool:
    """By where the changes lie, or, where that cannot be seen any more, by how the system was booted."""
    upper = re.search(r"(?:^|,)upperdir=([^,]*)", overlay.options)
    holder = _mount_of(Path(upper[1]), mounts) if upper else None
    if holder is not None and holder.kind in _IN_MEMORY:
        return True
    return overlay.point == Path("/") and any(
        word == "boot=overlay" or word.startswith("overlayroot=tmpfs") for word in command_line
    )


def _mounts(text: str) -> list[Mount]:
    """Later ones lie over earlier ones.

    A line is `ID PARENT DEVICE ROOT POINT OPTIONS [TAG...] - KIND SOURCE OPTIONS`.
    """
    mounts = []
    for line in text.splitlines():
        front, _, back = line.partition(" - ")
        fields, kind = front.split(), back.split()
        if len(fields) > 4 and len(kind) > 2:
            mounts.append(Mount(Path(_unescaped(fields[4])), kind[0], kind[2]))
    return mounts


def _unescaped(text: str) -> str:
    """Spaces and the like are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _mount_of(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    above = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(above), key=lambda mount: len(mount.point.parts), default=None)


if __name__ == "__main__":
    for reason in dict.fromkeys(filter(None, (forgotten(Path(path)) for path in sys.argv[1:]))):
        print(reason)

"""Keeps two agents out of one directory, and says whether one is there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edge_agent.errors import InUseError


class DirectoryLock:
    """Holds a directory until `close`, or until the process ends, however it ends.

    The directory itself is locked, so no file is left behind. Where it cannot be made or opened, there is
    nothing that two agents could spoil, and nothing is locked.
    """

    def __init__(self, directory: Path) -> None:
        """Raises InUseError when another process holds the directory."""
        self._descriptor: int | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise InUseError(
                f"another agent runs with the state directory {directory}: stop it first (for the service:"
                " `systemctl stop edge-agent`), or give this one a directory of its own in $STATE_DIRECTORY"
            ) from error
        except OSError:
            self.close()

    def close(self) -> None:
        """Let the next one have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(directory: Path, locks: Path = Path("/proc/locks")) -> bool:
    """Whether some process holds the directory by a DirectoryLock, which is not touched for that."""
    try:
        status = directory.stat()
        lines = locks.read_text().splitlines()
    except OSError:
        return False
    return any(_is_lock_of(status, line.split()) for line in lines)


def _is_lock_of(status: os.stat_result, words: list[str]) -> bool:
    """Whether words like `1: FLOCK ADVISORY WRITE 4711 fd:00:131 0 EOF` are about the file of that status."""
    if words[1:4] != ["FLOCK", "ADVISORY", "WRITE"] or len(words) < 6:
        return False
    major, minor, inode = words[5].split(":")
    device = int(major, 16), int(minor, 16)
    # Btrfs gives its files other minor numbers of a device that is none.
    is_same_device = device == (os.major(status.st_dev), os.minor(status.st_dev)) or (
        device[0] == os.major(status.st_dev) == 0
    )
    return is_same_device and int(inode) == status.st_ino

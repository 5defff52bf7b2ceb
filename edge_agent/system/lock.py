"""Keeps two agents out of one directory."""

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

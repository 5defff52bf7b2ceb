"""Notices that the configuration file was saved: by its status, and by inotify(7) where that can be used."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from edge_agent.lean_dataclass import dataclass

LONGEST_WRITE_S = 30.0
"""A writer that keeps the file open for longer is not waited for any more."""

_LOOK_AGAIN_S = 0.05
_NEW_S = 2.0

Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class FileEvent:
    """One thing that happened to a file."""

    path: Path
    is_open: bool
    """Written to or created, and not closed yet. False: closed by its writer, moved, or deleted."""


class Notifier(Protocol):
    """Reports what happens to the entries of a few directories."""

    def watch(self, file: Path, directories: frozenset[Path]) -> None:
        """Watch the content of `file` and the entries of the directories, and nothing else; all these paths
        are real ones. A path that does not exist is passed over."""
        ...

    def events(self) -> list[FileEvent]:
        """Return what has happened since the last call, in order; never waits."""
        ...

    def fileno(self) -> int:
        """A descriptor that is readable while there are events."""
        ...

    def close(self) -> None: ...


class Inotify:
    """The kernel's notification. Raises ImportError, OSError or AttributeError where it cannot be used."""

    def __init__(self) -> None:
        from inotify_simple import INotify, flags

        self._inotify: Any = INotify(nonblocking=True)
        self._open = flags.MODIFY | flags.CREATE
        self._closed = flags.CLOSE_WRITE | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE
        # Writing is watched at the file alone: a log beside it may be written a hundred times a second.
        self._of_file = flags.MODIFY | flags.CLOSE_WRITE
        self._of_directory = flags.CREATE | self._closed | flags.ONLYDIR
        self._watched: dict[int, Path] = {}

    def watch(self, file: Path, directories: frozenset[Path]) -> None:
        wanted = dict.fromkeys(directories, self._of_directory) | {file: self._of_file}
        current: dict[int, Path] = {}
        for path, mask in wanted.items():
            try:
                # The same inode gives the same number; one that was created again, a new number.
                current[self._inotify.add_watch(path, mask)] = path
            except OSError:
                continue
        for gone in self._watched.keys() - current.keys():
            try:
                self._inotify.rm_watch(gone)
            except OSError:  # the kernel forgot it together with the inode
                continue
        self._watched = current

    def events(self) -> list[FileEvent]:
        return [
            FileEvent(self._watched[event.wd] / event.name, bool(event.mask & self._open))
            for event in self._inotify.read(timeout=0)
            if event.wd in self._watched and event.mask & (self._open | self._closed)
        ]

    def fileno(self) -> int:
        return int(self._inotify.fileno())

    def close(self) -> None:
        self._inotify.close()


def open_inotify() -> Inotify | None:
    """Inotify; None where the system has none left (fs.inotify.max_user_instances) or none at all."""
    try:
        return Inotify()
    except (ImportError, OSError, AttributeError):
        return None


class ConfigWatcher:
    """Says when a file has changed, is closed, and has then been left alone for `settle_s` seconds.

    An editor may write the file in place, rename a new one over it, or take it away for a moment; a
    deployment tool may swing a symbolic link to another file. All of that changes the path's status, which
    every call of `changed` looks at. The notifier adds three things: it wakes the caller, it shows a write
    within the resolution of the file's times, and it knows that a writer has not finished yet. A writer that
    keeps the file open for longer than `longest_write_s` is not waited for any more.

    Make it before reading the file, or hand in what was `seen`, so that no change falls in between. For one
    thread at a time.
    """

    def __init__(
        self,
        path: Path,
        notifier: Notifier | None,
        *,
        settle_s: float = 0.5,
        longest_write_s: float = LONGEST_WRITE_S,
        clock: Callable[[], float] = time.monotonic,
        seen: Signature | None = None,
    ) -> None:
        """Without a `notifier` the status alone decides. `clock` returns seconds. `seen`: the file's
        signature before it was read, where that was before this is made."""
        self._path = path.absolute()
        self._notifier = notifier
        self._settle_s = settle_s
        self._longest_write_s = longest_write_s
        self._clock = clock
        self._changed_s: float | None = None
        self._open_since_s: float | None = None
        self._follow()
        self._seen = signature(self._path) if seen is None else seen

    @property
    def is_being_written(self) -> bool:
        """Whether a writer was seen to have the file open, and has not closed it since."""
        return self._open_since_s is not None

    def fileno(self) -> int | None:
        """For select(): readable when `changed` should be called; None where only its status is looked at."""
        return None if self._notifier is None else self._notifier.fileno()

    def changed(self) -> bool:
        """Whether the file has changed (or gone) and has settled since; never waits. True once a change."""
        now_s = self._clock()
        self._look(now_s)
        if self._changed_s is None or now_s < self._settled_s(self._changed_s):
            return False
        self._changed_s = self._open_since_s = None
        return True

    def due_in_s(self) -> float | None:
        """Seconds until a change will have settled if nothing else happens; None while there is no change."""
        if self._changed_s is None:
            return None
        return max(0.0, self._settled_s(self._changed_s) - self._clock())

    def close(self) -> None:
        """Stop watching."""
        if self._notifier is not None:
            self._notifier.close()

    def _look(self, now_s: float) -> None:
        events = [] if self._notifier is None else self._notifier.events()
        entry, target = self._follow()
        for event in events:
            if event.path in (entry, target):
                self._changed_s = now_s
                # A link that is created is whole at once: only the file at its end can be open.
                if not (event.is_open and event.path == target):
                    self._open_since_s = None
                elif self._open_since_s is None:
                    self._open_since_s = now_s
        present = signature(self._path)
        if present != self._seen:
            self._seen = present
            self._changed_s = now_s

    def _settled_s(self, changed_s: float) -> float:
        settled_s = changed_s + self._settle_s
        if self._open_since_s is None:
            return settled_s
        return max(settled_s, self._open_since_s + self._longest_write_s)

    def _follow(self) -> tuple[Path, Path]:
        """Watch the path's entry in its directory and the file that it leads to; returns the two."""
        entry = Path(os.path.realpath(self._path.parent), self._path.name)
        target = Path(os.path.realpath(entry))
        if self._notifier is not None:
            self._notifier.watch(target, frozenset((entry.parent, target.parent)))
        return entry, target


def wait_for_writer(
    path: Path,
    *,
    longest_s: float = LONGEST_WRITE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Return when nobody is writing the file, so far as that can be known; after `longest_s` in any case.

    For the main thread, before there are others: it ignores a signal for a moment.
    """
    end_s = clock() + longest_s
    while clock() < end_s and _is_being_written(path):
        sleep(_LOOK_AGAIN_S)


def _is_being_written(path: Path) -> bool:
    """Whether some process has the file open for writing; where that cannot be known, whether it is new."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    # A lease is given while there is no writer, to the owner of the file. A writer that comes meanwhile
    # waits until it is given back, and the kernel says so by SIGIO, which would end the process.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return 0 <= time.time() - os.fstat(descriptor).st_mtime < _NEW_S
    else:
        return False
    finally:
        signal.signal(signal.SIGIO, before)
        os.close(descriptor)


def signature(path: Path) -> Signature | None:
    """Numbers that differ whenever the file that `path` leads to has changed; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

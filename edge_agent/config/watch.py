"""Notices that the configuration file was saved: inotify says when to look, its status whether it changed."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

# Constants of inotify(7).
_IN_MODIFY = 0x002
_IN_ATTRIB = 0x004
_IN_CLOSE_WRITE = 0x008
_IN_MOVED = 0x0C0
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_ONLYDIR = 0x0100_0000
_MASK = _IN_MODIFY | _IN_ATTRIB | _IN_CLOSE_WRITE | _IN_MOVED | _IN_CREATE | _IN_DELETE | _IN_ONLYDIR
_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name that follows
_BUFFER_BYTES = 16 * 1024

_POLL_S = 1.0

Signature = tuple[int, int, int, int, int]


class Notifier(Protocol):
    """Waits for something to happen in a few directories."""

    def watch(self, directories: frozenset[Path]) -> None:
        """Watch these directories and no others; one that does not exist is passed over."""
        ...

    def wait(self, timeout_s: float) -> frozenset[str]:
        """Wait no longer than `timeout_s`; return the names of the entries that were written or moved."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when `wait` would return at once; None where there is none."""
        ...

    def close(self) -> None: ...


class Inotify:
    """The kernel's own notification. Raises OSError where it is not to be had."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._watched: dict[int, Path] = {}

    def watch(self, directories: frozenset[Path]) -> None:
        current: dict[int, Path] = {}
        for directory in directories:
            try:
                # The same directory gives the same descriptor; one that was made anew, a new one.
                current[self._call("inotify_add_watch", self._fd, os.fsencode(directory), _MASK)] = directory
            except OSError:
                continue
        for gone in self._watched.keys() - current.keys():
            self._libc.inotify_rm_watch(self._fd, gone)  # fails where the directory itself is gone
        self._watched = current

    def wait(self, timeout_s: float) -> frozenset[str]:
        readable = self._poll.poll(max(0.0, timeout_s) * 1000)
        return frozenset(self._names()) if readable else frozenset()

    def fileno(self) -> int | None:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def _names(self) -> Iterator[str]:
        content = os.read(self._fd, _BUFFER_BYTES)
        offset = 0
        while offset < len(content):
            _, _, _, length = _EVENT.unpack_from(content, offset)
            offset += _EVENT.size
            yield os.fsdecode(content[offset : offset + length].rstrip(b"\0"))
            offset += length

    def _call(self, function: str, *arguments: int | bytes) -> int:
        result: int = getattr(self._libc, function)(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{function}: {os.strerror(number)}")
        return result


class Polling:
    """Looks again every second, where the kernel does not notify."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def watch(self, directories: frozenset[Path]) -> None:
        """Nothing to prepare."""

    def wait(self, timeout_s: float) -> frozenset[str]:
        self._sleep(max(0.0, min(timeout_s, _POLL_S)))
        return frozenset()

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        """Nothing to release."""


def open_notifier() -> Notifier:
    """Inotify, or polling where the system has none left (fs.inotify.max_user_instances) or none at all."""
    try:
        return Inotify()
    except (OSError, AttributeError):
        return Polling()


class ConfigWatcher:
    """Tells when a file has changed and has then been left alone for `debounce_s` seconds.

    An editor may write the file in place, rename a new one over it, or take it away for a moment; a
    deployment tool may swing a symbolic link to another file. All of that changes what the path's status
    says, which is looked at after each notification and at least at each `wait`. Make it before reading the
    file, so that no change falls in between. For one thread at a time.
    """

    def __init__(
        self,
        path: Path,
        debounce_s: float = 0.5,
        notifier: Notifier | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path.absolute()
        self._debounce_s = debounce_s
        self._notifier = open_notifier() if notifier is None else notifier
        self._clock = clock
        self._unsettled_since_s: float | None = None
        self._follow()
        self._seen = signature(self._path)

    def fileno(self) -> int | None:
        """For select(): readable when `wait` should be called; None where only polling is possible.

        After a notification the file still has to settle, so call `wait` again `debounce_s` later.
        """
        return self._notifier.fileno()

    def wait(self, timeout_s: float) -> bool:
        """Wait no longer than `timeout_s`; True when the file has changed (or gone) and has settled."""
        deadline_s = self._clock() + timeout_s
        names: frozenset[str] = frozenset()
        while True:
            now_s = self._clock()
            self._look(names, now_s)
            settled_s = self._settled_at()
            if settled_s is not None and now_s >= settled_s:
                self._unsettled_since_s = None
                return True
            if now_s >= deadline_s:
                return False
            until_s = deadline_s if settled_s is None else min(deadline_s, settled_s)
            names = self._notifier.wait(until_s - now_s)

    def close(self) -> None:
        """Stop watching."""
        self._notifier.close()

    def _look(self, names: frozenset[str], now_s: float) -> None:
        self._follow()
        present = signature(self._path)
        # A write within the resolution of the file's times shows only in the notification.
        if present != self._seen or self._path.name in names:
            self._seen = present
            self._unsettled_since_s = now_s

    def _settled_at(self) -> float | None:
        return None if self._unsettled_since_s is None else self._unsettled_since_s + self._debounce_s

    def _follow(self) -> None:
        """Watch the directory of the path, and that of the file that it leads to."""
        target = Path(os.path.realpath(self._path))
        self._notifier.watch(frozenset((self._path.parent, target.parent)))


def signature(path: Path) -> Signature | None:
    """What changes whenever the file that `path` leads to does; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

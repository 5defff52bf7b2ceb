"""Small files: read where there is one, written whole or not at all, even if the power fails meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def read_or_empty(path: Path) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def write_atomic(
    path: Path, content: str | bytes, mode: int = 0o666, like: os.stat_result | None = None
) -> None:
    """Replace what is at `path` by `content`, a text as UTF-8; its folder is made where there is none.

    `mode` is for the new file, before the umask. With `like` it gets the mode of that file, and its owner
    where this process may give it away. Raises OSError, and then leaves what was there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.new")
    # A file made here and now, since somebody may have put a link there; or a write that was killed left it.
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(
        unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if like is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def sync(path: Path) -> None:
    """Wait until a file's contents, or the names in a folder, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path) -> bool:
    """Let two files or folders have each other's names, in one step that nothing can come between.

    Returns False where kernel or file system cannot do that; raises OSError where they refuse.
    """
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library before glibc 2.28
        return False
    here, number = _AT_FDCWD, 0
    if renameat2(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)) != 0:
        number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    if number:
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    return True


def set_aside(path: Path, *companions: str) -> Path:
    """Rename a damaged file to `<name>.damaged`, and return that path; the one before it is kept as well.

    `companions` are endings of files that belong to it. Raises OSError.
    """
    aside = path.with_name(f"{path.name}.damaged")
    older = path.with_name(f"{path.name}.damaged-before")
    for ending in ("", *companions):
        for present, future in ((aside, older), (path, aside)):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{present}{ending}").replace(f"{future}{ending}")
    return aside

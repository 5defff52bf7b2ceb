"""Root gives up its rights before it works where somebody else could lead it astray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_MOST_LINKS = 40  # as the kernel has it


def become_owner_of(path: Path) -> str:
    """Go on as the owner of the first directory or link on the way to `path` that is not root's, for good.

    Whoever owns a directory can put a link there at any moment, to anywhere. Followed with that owner's
    rights it leads nowhere that they could not go themselves. Returns a sentence about it; empty where
    nothing changed, because this process is not root's or all of the way is. Raises OSError where the kernel
    refuses.
    """
    if os.geteuid() != 0:
        return ""
    for step, status in _way_to(path):
        if status.st_uid != 0:
            name = _become(status.st_uid, status.st_gid)
            return f"going on as {name}, who owns {step}"
    return ""


def _way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every directory and link that opening `path` passes, as far as there is one."""
    here, left, links = Path("/"), list(path.absolute().parts[1:]), 0
    while left:
        name = left.pop(0)
        here = here.parent if name == ".." else here / name
        try:
            status = here.lstat()
        except OSError:
            return
        yield here, status
        if here.is_symlink():
            if (links := links + 1) > _MOST_LINKS:
                return
            target = here.readlink()
            left = [*target.parts[1 if target.is_absolute() else 0 :], *left]
            here = Path("/") if target.is_absolute() else here.parent


def _become(user: int, group: int) -> str:
    """Take over user, groups and home; returns the user's name."""
    import pwd

    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        name, home = f"user {user}", "/"
        os.setgroups([])
    else:
        name, home, group = entry.pw_name, entry.pw_dir, entry.pw_gid
        os.initgroups(name, group)
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    os.environ["HOME"] = home
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "TORCH_HOME"):
        os.environ.pop(variable, None)
    return name

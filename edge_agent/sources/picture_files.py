"""Finds the picture files of a folder, and of the folders in it, in the order of their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_MOST_FOLDERS = 1_000_000


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names, which may be none.

    The suffix decides, in upper or lower case; files whose names begin with a dot are left out. Raises
    OSError when the folder cannot be listed.
    """
    return [folder / name for name in _names(folder)[0]]


def pictures_below(
    folder: Path,
    unlisted: Callable[[Path, OSError], object] = lambda _folder, _error: None,
    most_folders: int = _MOST_FOLDERS,
) -> Iterator[Path]:
    """Yield the pictures of a folder, then those of each folder in it, all in the order of their names.

    A folder is listed when its turn comes, so little is held in memory. Links to folders are followed, but
    no folder is entered twice, none whose name begins with a dot, and no more than `most_folders`. A folder
    that cannot be listed is handed to `unlisted`; for `folder` itself OSError is raised.
    """
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting and len(entered) < most_folders:
        here = waiting.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            pictures, folders = _names(here)
        except OSError as error:
            if here == folder:
                raise
            unlisted(here, error)
            continue
        waiting += [here / name for name in reversed(folders)]
        for name in pictures:
            yield here / name


def _names(folder: Path) -> tuple[list[str], list[str]]:
    """The names of a folder's pictures, and of the folders in it, each sorted."""
    pictures, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            with suppress(OSError):  # a link that leads to itself, a file that has just gone
                if PurePath(entry.name).suffix.lower() in _SUFFIXES and entry.is_file():
                    pictures.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
    return sorted(pictures), sorted(folders)

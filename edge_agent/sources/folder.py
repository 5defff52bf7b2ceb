"""A folder of pictures as a source: played once or in a loop, in the order of their names."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import field
from itertools import chain
from pathlib import Path

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.room import Room, command_room
from edge_agent.sources.picture import read_picture
from edge_agent.sources.picture_files import pictures_below, pictures_in
from edge_agent.sources.picture_header import WANTED, PictureError, Trouble
from edge_agent.system.log import say
from edge_agent.system.text import printable

_LOG = logging.getLogger(__name__)
_MOST_REMEMBERED = 100  # pictures skipped in one round, each with its reason in the log; all are counted
_FOLDERS_LOOKED_INTO = 200  # for the word about `recursive`
_TRIES = 10  # of a folder in which every picture is being written
_TRY_AGAIN_S = 0.1

_Version = tuple[int, int]
"""The size and time of change of a file, by which two looks at it are compared."""


@dataclass(slots=True)
class _Round:
    """One pass through the folder."""

    pictures: Iterator[Path]
    read: int = 0
    skipped: int = 0
    unfinished: int = 0
    """How many of the skipped ones were perhaps being written."""
    last_error: str = ""
    versions: dict[Path, _Version] = field(default_factory=dict)
    """Of the skipped ones."""


class FolderSource:
    """The JPEG, PNG, WebP and BMP files of one folder, and with `recursive` of the folders in it.

    Those that cannot be read, or take more memory than there is room for, are skipped. With `loop` the folder
    is listed again for each round, so pictures may come and go while it plays, and one that is being written
    is let pass until it is whole.
    """

    def __init__(
        self,
        path: Path,
        *,
        loop: bool,
        recursive: bool = False,
        live: bool = False,
        room: Room = command_room,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`live`: the folder stands for a camera, whose frames are dropped when nobody takes them in time.

        `room` returns how many bytes decoding a picture may take just now.
        """
        self._path = path
        self._loop = loop
        self._recursive = recursive
        self._live = live
        self._room = room
        self._clock = clock
        self._sleep = sleep
        self._frames = 0
        self._damaged = 0
        self._round: _Round | None = None
        self._versions_before: dict[Path, _Version] = {}
        self._reported: set[Path] = set()
        self._unlisted_folders: set[Path] = set()
        self._counted = 0

    @property
    def live(self) -> bool:
        return self._live

    @property
    def description(self) -> str:
        return f"folder {printable(self._path)}"

    @property
    def damaged(self) -> int:
        """How often a picture was skipped that could not be read, or was too large, since the start."""
        return self._damaged

    def open(self) -> None:
        """Begin with the first picture. Raises SourceError where the folder is missing or has no pictures."""
        self._round = self._begin_round()

    def read(self) -> Frame | None:
        """Return the next picture that can be read; None after the last one of a folder played once.

        Where every picture is being written just now, waits for one a second at the most. Raises SourceError
        when not one of the pictures can be read, or the folder has gone.
        """
        for _ in range(_TRIES):
            try:
                return self._next()
            except PictureError as error:
                if error.trouble != "unfinished":
                    raise
            self._sleep(_TRY_AGAIN_S)
        return self._next()

    def close(self) -> None:
        self._round = None

    def _next(self) -> Frame | None:
        while True:
            now = self._round = self._round or self._begin_round()
            for path in now.pictures:
                if (frame := self._try_read(path, now)) is not None:
                    return frame
            self._end_round(now)
            if not self._loop:
                return None

    def _begin_round(self) -> _Round:
        try:
            pictures = self._pictures()
            first = next(pictures, None)
        except OSError as error:
            raise SourceError(
                f"cannot list the {self.description}: {error.strerror}; check source.folder.path, and that"
                " the agent may read it"
            ) from error
        if first is None:
            # One that is replaced may be missing for a moment.
            trouble: Trouble = "unfinished" if self._loop and self._frames else "unreadable"
            raise PictureError(self._emptiness(), trouble)
        return _Round(chain([first], pictures))

    def _pictures(self) -> Iterator[Path]:
        if self._recursive:
            return pictures_below(self._path, self._unlisted)
        return iter(pictures_in(self._path))

    def _unlisted(self, folder: Path, error: OSError) -> None:
        message = f"skipped: cannot list the folder {printable(folder)}: {error.strerror}"
        self._report_once(folder, self._unlisted_folders, message)

    def _emptiness(self) -> str:
        empty = f"the {self.description} has no {WANTED} pictures"
        below = () if self._recursive else pictures_below(self._path, most_folders=_FOLDERS_LOOKED_INTO)
        if any(True for _ in below):
            return f"{empty} itself, but folders with some; for those, set source.folder.recursive: true"
        return f"{empty}; put some there"

    def _try_read(self, path: Path, now: _Round) -> Frame | None:
        started_s = self._clock()
        try:
            pixels = read_picture(path, self._room())
        except PictureError as error:
            self._skip(path, error, now)
            return None
        ended_s = self._clock()
        self._frames += 1
        now.read += 1
        name = printable(path.relative_to(self._path))
        return Frame(self._frames, ended_s, (ended_s - started_s) * 1000, pixels, name)

    def _skip(self, path: Path, error: PictureError, now: _Round) -> None:
        is_unfinished = self._loop and error.trouble == "unfinished"
        now.skipped += 1
        now.unfinished += is_unfinished
        now.last_error = str(error)
        version = _version(path)
        if len(now.versions) < _MOST_REMEMBERED:
            now.versions[path] = version
        if not is_unfinished or self._versions_before.get(path) == version:
            self._damaged += 1
            self._report_once(path, self._reported, f"skipped: {error}")

    @staticmethod
    def _report_once(path: Path, reported: set[Path], message: str) -> None:
        if path not in reported and len(reported) < _MOST_REMEMBERED:
            reported.add(path)
            say(_LOG, logging.WARNING, message)

    def _end_round(self, now: _Round) -> None:
        """Raises SourceError where nothing could be read."""
        if self._loop:
            self._round = None
        self._versions_before = now.versions
        if not now.read and now.skipped:
            count = f"none of the {now.skipped} pictures in the {self.description} can be read"
            trouble: Trouble = "unfinished" if now.unfinished else "unreadable"
            raise PictureError(f"{count}; the last one: {now.last_error}", trouble)
        self._reported.intersection_update(now.versions)
        if now.skipped != self._counted:
            self._counted = now.skipped
            say(_LOG, logging.INFO, "pictures skipped", skipped=now.skipped, read=now.read)


def _version(path: Path) -> _Version:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns

"""A folder of pictures as a source: played once or in a loop, in the order of their names."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.sources.picture import pictures_in, read_picture
from edge_agent.system.log import say

_LOG = logging.getLogger(__name__)


class FolderSource:
    """The JPEG, PNG, WebP and BMP files of one folder; those that cannot be read are skipped.

    With `loop` the folder is listed again for each round, so pictures may come and go while it plays.
    """

    def __init__(
        self, path: Path, *, loop: bool, live: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`live`: the folder stands for a camera, whose frames are dropped when nobody takes them in time."""
        self._path = path
        self._loop = loop
        self._live = live
        self._clock = clock
        self._waiting: list[Path] = []
        self._listed = 0
        self._read_in_round = 0
        self._frames = 0
        self._reported: set[str] = set()

    @property
    def live(self) -> bool:
        return self._live

    @property
    def description(self) -> str:
        return f"folder {self._path}"

    def open(self) -> None:
        """Begin with the first picture. Raises SourceError where the folder is missing or has no pictures."""
        self._begin_round()

    def read(self) -> Frame | None:
        """Return the next picture that can be read; None after the last one of a folder played once.

        Raises SourceError when not one of the pictures can be read, or the folder has gone.
        """
        while True:
            if not self._waiting:
                self._require_a_readable_picture()
                if not self._loop:
                    return None
                self._begin_round()
            if (frame := self._try_read(self._waiting.pop())) is not None:
                return frame

    def close(self) -> None:
        self._waiting.clear()

    def _begin_round(self) -> None:
        self._waiting = self._pictures()[::-1]
        self._listed = len(self._waiting)
        self._read_in_round = 0

    def _pictures(self) -> list[Path]:
        try:
            pictures = pictures_in(self._path)
        except OSError as error:
            raise SourceError(
                f"cannot list the folder {self._path}: {error.strerror}; check source.folder.path, and that"
                " the agent may read it"
            ) from error
        if not pictures:
            raise SourceError(
                f"the folder {self._path} has no JPEG, PNG, WebP or BMP pictures; put some there"
            )
        return pictures

    def _try_read(self, path: Path) -> Frame | None:
        started_s = self._clock()
        try:
            pixels = read_picture(path)
        except SourceError as error:
            self._report_once(path.name, error)
            return None
        ended_s = self._clock()
        self._frames += 1
        self._read_in_round += 1
        return Frame(self._frames, ended_s, (ended_s - started_s) * 1000, pixels, path.name)

    def _report_once(self, name: str, error: SourceError) -> None:
        if name not in self._reported:
            self._reported.add(name)
            say(_LOG, logging.WARNING, f"skipped: {error}")

    def _require_a_readable_picture(self) -> None:
        if self._listed and not self._read_in_round:
            raise SourceError(f"none of the {self._listed} pictures in the folder {self._path} can be read")

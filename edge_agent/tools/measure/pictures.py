"""The pictures that engines are measured and compared on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import SourceError, UsageError
from edge_agent.sources.picture import read_picture
from edge_agent.sources.picture_files import pictures_in
from edge_agent.system.text import encodable, printable
from edge_agent.tools import Report
from edge_agent.tools.demo.bundled import PICTURES_DIR


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Pictures that can be read, and how many of the folder cannot."""

    paths: tuple[str, ...]
    skipped: int


def readable_pictures(folder: Path | None, report: Report) -> PictureSet:
    """Return those of `measured_pictures` that can be read; each of the others is reported, and counted.

    Raises UsageError when there are none, SourceError when none can be read.
    """
    pictures = measured_pictures(folder)
    readable = tuple(path for path in pictures if _is_readable(path, report))
    if not readable:
        raise SourceError(f"--images {printable(folder or PICTURES_DIR)}: no picture can be read")
    return PictureSet(readable, len(pictures) - len(readable))


def _is_readable(path: str, report: Report) -> bool:
    if path != encodable(path):  # it could not be handed to the measuring process
        report(f"skipped: {printable(path)}: rename it, its name is not UTF-8")
        return False
    try:
        read_picture(Path(path))
    except SourceError as error:
        report(f"skipped: {error}")
        return False
    return True


def measured_pictures(folder: Path | None) -> tuple[str, ...]:
    """Return the paths of the pictures in `folder`, or of the bundled ones where it is None.

    Raises UsageError, naming the option --images, when there are none.
    """
    where = folder or PICTURES_DIR
    if not where.is_dir():
        raise UsageError(f"--images {printable(where)}: there is no such folder")
    if not (found := pictures_in(where)):
        raise UsageError(f"--images {printable(where)}: there are no JPEG, PNG, WebP or BMP pictures in it")
    return tuple(map(str, found))

"""The pictures that engines are measured and compared on."""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import UsageError
from edge_agent.sources.picture_files import pictures_in
from edge_agent.tools.demo.bundled import PICTURES_DIR


def measured_pictures(folder: Path | None) -> tuple[str, ...]:
    """Return the paths of the pictures in `folder`, or of the bundled ones where it is None.

    Raises UsageError, naming the option --images, when there are none.
    """
    where = folder or PICTURES_DIR
    if not where.is_dir():
        raise UsageError(f"--images {where}: there is no such folder")
    if not (found := pictures_in(where)):
        raise UsageError(f"--images {where}: there are no JPEG, PNG, WebP or BMP pictures in it")
    return tuple(map(str, found))

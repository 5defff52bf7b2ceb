"""Copies a model beside the one in use, whole or not at all, with the rights of who owns that place."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import ArtifactError, EdgeAgentError, ModelError
from edge_agent.install.order import RESERVE_BYTES
from edge_agent.install.store import place_name
from edge_agent.model.sidecar import SIDECAR_NAME, Artifact, check_whole, read_sidecar
from edge_agent.system.privileges import become_owner_of
from edge_agent.system.text import printable
from edge_agent.tools.builder.staging import staged


def place_of(artifact: Artifact, present: Path) -> Path:
    """Where a model is installed: beside the present one, under its name and the beginning of its hash."""
    return present.parent / place_name(artifact.sidecar)


def copy(artifact: Artifact, place: Path) -> None:
    """Copy a model to `place`, and check what has come to lie there.

    The files are opened with this process's rights and written with those of who owns the place. Raises
    ModelError, and then leaves what was there.
    """
    names = [SIDECAR_NAME, *artifact.sidecar.listed]
    with ExitStack() as stack:
        try:
            opened = {name: stack.enter_context((artifact.directory / name).open("rb")) for name in names}
            size = sum(os.fstat(file.fileno()).st_size for file in opened.values())
            _check_room(size, place)
        except OSError as error:
            raise ModelError(f"{error.filename}: cannot be read: {error.strerror}") from None
        as_owner_of(place, lambda: _write(opened, place))
    check_whole(read_sidecar(place))


def remove(place: Path) -> None:
    """Remove an installed model, with the rights of who owns the place; nothing where there is none."""
    if (place / SIDECAR_NAME).is_file():
        as_owner_of(place, lambda: shutil.rmtree(place, ignore_errors=True))


def is_placed(directory: Path) -> bool:
    """Whether a model lies where an installation has put it: others are their owner's."""
    try:
        return place_of(read_sidecar(directory), directory) == directory
    except ArtifactError:
        return False


def as_owner_of(path: Path, do: Callable[[], None]) -> None:
    """Do something in a child process that has become the owner of the way to `path`, see `privileges`.

    For any but root it is done here. Raises ModelError with what went wrong, in both cases.
    """
    if os.geteuid() != 0:
        try:
            do()
        except (EdgeAgentError, OSError) as error:
            raise ModelError(str(error)) from error
        return
    reading, writing = os.pipe()
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        os.close(reading)
        os._exit(_attempt(path, do, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        problem = said.read().decode(errors="replace")
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise ModelError(problem or f"{path}: the process that was to write there has died")


def _attempt(path: Path, do: Callable[[], None], writing: int) -> int:
    try:
        become_owner_of(path)
        do()
    except (EdgeAgentError, OSError) as error:
        os.write(writing, printable(str(error), 1000).encode())
        return 1
    except BaseException as error:
        os.write(writing, f"{path}: {type(error).__name__}".encode())
        return 1
    return 0


def _write(opened: Mapping[str, BinaryIO], place: Path) -> None:
    with staged(place) as staging:
        for name, file in opened.items():
            with (staging / name).open("wb") as copied:
                shutil.copyfileobj(file, copied, 1 << 20)


def _check_room(size: int, place: Path) -> None:
    free = shutil.disk_usage(place.parent).free
    if size + RESERVE_BYTES > free:
        raise ModelError(
            f"{place.parent}: {free / 1e6:.0f} MB are free, and the model needs {size / 1e6:.0f} MB beside"
            f" {RESERVE_BYTES / 1e6:.0f} MB that stay free"
        )

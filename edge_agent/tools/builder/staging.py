"""Replaces a model directory in one step: a build that fails or is killed leaves the old one in place."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import SIDECAR_NAME
from edge_agent.system.files import exchange, sync


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Yield an empty directory beside `output`; where the block succeeds, it takes the place of `output`.

    Clears away the leftovers of a build that was killed. Raises ModelError when `output` holds something
    that is not a model, another build is writing to it, or the file system refuses.
    """
    output = output.resolve()
    _recover(output)
    check_replaceable(output)
    staging = output.with_name(f".{output.name}.building")
    try:
        staging.mkdir(parents=True, exist_ok=True)
        with _locked(staging, output):
            try:
                _clear(staging)
                yield staging
                _sync_all(staging)
                _swap(staging, output)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
    except OSError as error:
        raise ModelError(
            f"{error.filename or output}: cannot be written: {error.strerror or error}"
        ) from error


def check_replaceable(output: Path) -> None:
    """Raise ModelError unless `output` is absent, empty, or a model: nothing else may be overwritten."""
    if not output.exists() or (output / SIDECAR_NAME).is_file():
        return
    if not output.is_dir() or any(output.iterdir()):
        raise ModelError(
            f"{output}: exists and is not a model directory (it has no {SIDECAR_NAME}); name another"
        )


@contextmanager
def _locked(directory: Path, output: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ModelError(f"{output}: another build is writing there; wait until it has ended") from error
    finally:
        os.close(descriptor)


def _clear(directory: Path) -> None:
    for entry in directory.iterdir():
        entry.unlink()


def _sync_all(directory: Path) -> None:
    """Flush everything to the disk before the old model goes: a board may lose its power at any time."""
    for path in (*directory.iterdir(), directory):
        sync(path)


def _replaced(output: Path) -> Path:
    return output.with_name(f".{output.name}.replaced")


def _recover(output: Path) -> None:
    """Put the old model back where a build was killed between the two renames of `_swap`."""
    if not output.exists() and (_replaced(output) / SIDECAR_NAME).is_file():
        _replaced(output).rename(output)


def _swap(staging: Path, output: Path) -> None:
    if not output.exists():
        staging.rename(output)
        return
    replaced = _replaced(output)
    shutil.rmtree(replaced, ignore_errors=True)
    if exchange(staging, output):
        shutil.rmtree(staging, ignore_errors=True)
        return
    output.rename(replaced)
    try:
        staging.rename(output)
    except OSError:
        replaced.rename(output)
        raise
    shutil.rmtree(replaced, ignore_errors=True)

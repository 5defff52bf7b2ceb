"""The packed weights: made once for a model and a vector width, then mapped read-only by every engine.

The file begins with a page that says what it is for and what its contents are; it is written whole, checked
when it is opened, and made again where it does not fit. So damage costs a moment, and never an answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError, EngineError
from edge_agent.inference.native.packing import Packing, pack
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import DTYPES, Plan, Precision

FORMAT = 1
"""Of the first page, and of the order that `pack` gives the numbers of an array: with either it changes."""
PAGE_BYTES = 4096
MOST_FILES = 6
"""That are kept in one directory: two models in both precisions, FP16 also for FP16 arithmetic."""
_MAGIC = b"edgepack"
_HEAD = struct.Struct("<8sIIQ32sI")
_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Key:
    """What a packed file is for; any other is made again."""

    model: str
    """A hash over the plan and the weights."""
    lanes: int
    order: str
    """A hash over the place of each array: another version of this program may choose other kernels."""
    size: int
    """In bytes, without the first page."""

    @classmethod
    def of(cls, model: str, lanes: int, packing: Packing) -> Key:
        return cls(model, lanes, packing.digest, packing.bytes)

    @property
    def digest(self) -> bytes:
        text = f"{FORMAT} {self.model} {self.lanes} {self.order} {self.size}"
        return hashlib.sha256(text.encode()).digest()

    def file_name(self, precision: Precision) -> str:
        """Tells models apart that share a directory of caches."""
        return f"native-{precision}-{self.lanes}-{self.digest.hex()[:12]}.packed"


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """The mapped weights, and where they are from."""

    mapped: mmap.mmap
    path: Path | None
    """None: they are in memory, since no file could be written."""
    note: str = ""
    """Why they are not in a file."""

    @property
    def begin(self) -> int:
        return PAGE_BYTES if self.path else 0


def open_packed(
    directories: Sequence[Path],
    name: str,
    key: Key,
    plan: Plan,
    packing: Packing,
    find_weights: Callable[[], Path],
) -> PackedWeights:
    """Map the packed file in the first directory that has a sound one, or make it in the first that takes it.

    Where none takes it, the weights are packed into memory. `find_weights` checks the model's own weights and
    returns their path; it is called only where there is something to pack. Raises what it raises,
    ArtifactError when they are not as long as the plan says, EngineError when there is no memory for them.
    """
    for directory in directories:
        with contextlib.suppress(OSError, _UnfitError):
            return PackedWeights(_map(directory / name, key), directory / name)
    weights = find_weights()
    problems = []
    for directory in directories:
        try:
            write_packed(directory / name, key, plan, packing, weights)
            return PackedWeights(_map(directory / name, key), directory / name)
        except (OSError, _UnfitError) as error:
            problems.append(f"{directory}: {getattr(error, 'strerror', None) or error}")
    return PackedWeights(_in_memory(plan, packing, weights), None, "; ".join(problems))


def write_packed(path: Path, key: Key, plan: Plan, packing: Packing, weights: Path) -> None:
    """Write the file whole or not at all; another process may do the same. Raises OSError, ArtifactError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path)
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            file.seek(PAGE_BYTES)
            checksum = _write_body(file, plan, packing, weights)
            file.seek(0)
            file.write(_HEAD.pack(_MAGIC, FORMAT, key.lanes, key.size, key.digest, checksum))
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
            Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _clear(path: Path) -> None:
    """Remove what a writer left that was killed, and the oldest files of other models."""
    for unfinished in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError), unfinished.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a writer that lives has it
            if os.fstat(file.fileno()).st_size:  # or is about to take it
                unfinished.unlink()
    others = {other for other in path.parent.glob("native-*.packed") if other != path}
    with contextlib.suppress(OSError):
        for oldest in sorted(others, key=lambda other: -other.lstat().st_mtime)[MOST_FILES - 1 :]:
            oldest.unlink()


class _UnfitError(Exception):
    """A file is not the one that is looked for, or is damaged."""


def _map(path: Path, key: Key) -> mmap.mmap:
    with FileIO(path, opener=_open) as file:
        if os.fstat(file.fileno()).st_size != PAGE_BYTES + key.size:
            raise _UnfitError("its size is another")
        head = file.read(_HEAD.size)
        magic, version, lanes, size, digest, checksum = _HEAD.unpack(head.ljust(_HEAD.size, b"\0"))
        if (magic, version, lanes, size, digest) != (_MAGIC, FORMAT, key.lanes, key.size, key.digest):
            raise _UnfitError("it is for another model")
        file.seek(PAGE_BYTES)
        if _checksum(file) != checksum:
            raise _UnfitError("it is damaged")
        return mmap.mmap(file.fileno(), PAGE_BYTES + key.size, access=mmap.ACCESS_READ)


def _open(path: str, flags: int) -> int:
    """Neither follow a link nor wait for who writes into a pipe: whatever lies there in place of a file."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _checksum(file: FileIO) -> int:
    """Read through a small buffer, so that the pages are not in this process before they are used."""
    buffer = bytearray(_READ_BYTES)
    checksum = 0
    while count := file.readinto(buffer):
        checksum = zlib.crc32(memoryview(buffer)[:count], checksum)
    return checksum


def _write_body(file: BinaryIO, plan: Plan, packing: Packing, weights: Path) -> int:
    checksum, end = 0, 0
    for offset, piece in _pieces(plan, packing, weights):
        for part in (bytes(offset - end), piece.data.cast("B")):
            file.write(part)
            checksum = zlib.crc32(part, checksum)
        end = offset + piece.nbytes
    rest = bytes(packing.bytes - end)
    file.write(rest)
    return zlib.crc32(rest, checksum)


def _in_memory(plan: Plan, packing: Packing, weights: Path) -> mmap.mmap:
    try:
        room = mmap.mmap(-1, max(packing.bytes, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise EngineError(f"there is no memory for {packing.bytes / 1e6:.0f} MB of weights") from error
    for offset, piece in _pieces(plan, packing, weights):
        room[offset : offset + piece.nbytes] = piece.data.cast("B")
    return room


def _pieces(plan: Plan, packing: Packing, weights: Path) -> Iterator[tuple[int, NDArray[Any]]]:
    """The packed arrays with their offsets, in order; only one array's weights are in memory at a time."""
    dtype = DTYPES[plan.precision]
    with _mapped(weights, plan) as mapped:
        for parcel in packing.parcels:
            values = np.frombuffer(mapped, dtype, parcel.tensor.elements, parcel.tensor.offset or 0)
            offset = parcel.offset
            for piece in pack(parcel, values.reshape(parcel.tensor.shape)):
                yield offset, piece
                offset += piece.nbytes
            del values
            mapped.madvise(mmap.MADV_DONTNEED)


@contextlib.contextmanager
def _mapped(path: Path, plan: Plan) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != plan.weights_bytes:
                raise ArtifactError(
                    f"{path} holds {size} bytes, its plan is for {plan.weights_bytes}: build the model again"
                )
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    yield mapped
    # Only here: after an error, its traceback still holds views of the mapping, which goes away with them.
    mapped.close()

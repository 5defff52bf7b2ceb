"""A head on disk: one file, written whole, bound to its model; its predecessor is kept.

    edge-agent head 2                      what it is
    <64 hexadecimal digits>                the SHA-256 of all that follows
    {"backbone": ...}                      one line of JSON: labels and counts, the model, the method
    <totals>                               float64, labels x features: the exact sum of each label's features
    <total of unnamed frames>              float64, features: where there are any
    <weights> <bias>                       FP16, labels x features, and float32, labels: with regression

All numbers are little-endian. The examples are not in it. For 10 labels and 512 features it has 42 kB with
class means, 52 kB with a regression, and 4 kB more with unnamed frames, whatever the number of examples.
Nothing in the file is run or trusted: every size and number is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import TeachError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import MOST_FEATURES
from edge_agent.model.sidecar import Sha256
from edge_agent.system.files import set_aside, write_atomic
from edge_agent.system.json_reader import JsonError, Rule, between, matching, parse, read
from edge_agent.system.log import say
from edge_agent.teach.examples import MOST_LABELS, check_label
from edge_agent.teach.head import Backbone, Layer, Method, Taught
from edge_agent.teach.moments import MOST_ADDED, UNIT, Moment

MOST_BYTES = 4 << 20

_LOG = logging.getLogger(__name__)

_MAGIC = b"edge-agent head "
_FORMAT = b"2"
_LONGEST_HEADER = 64 << 10
_LARGEST = 65504.0  # the largest FP16 number
_LARGEST_SQUARE = round(_LARGEST / UNIT) ** 2


class HeadFileError(TeachError):
    """The file of a head is missing, damaged, or of another model."""


@dataclass(frozen=True, slots=True)
class _Sums:
    label: str
    count: Annotated[int, between(1, MOST_ADDED)]
    squares: Annotated[int, Rule(lambda number: number >= 0, "expected a whole number of at least 0")]


_Labels = Annotated[
    tuple[_Sums, ...],
    Rule(lambda labels: 0 < len(labels) <= MOST_LABELS, f"expected 1 to {MOST_LABELS} labels"),
]


@dataclass(frozen=True, slots=True)
class _Backbone:
    sha256: Sha256
    arithmetic: Annotated[str, matching("[a-z0-9][a-z0-9.+-]{0,39}", "a name like native-fp16")]
    features: Annotated[int, between(1, MOST_FEATURES)]


@dataclass(frozen=True, slots=True)
class _Header:
    backbone: _Backbone
    method: Method
    labels: _Labels
    frames: _Sums | None
    fingerprint: Annotated[str, matching("([0-9a-f]{64})?", "64 hexadecimal digits or none")]


class _Numbers:
    """Takes one array after another from the end of a file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def take(self, kind: str, *shape: int) -> NDArray[np.generic]:
        """The next array, as a copy. Raises HeadFileError where the file ends before."""
        count = int(np.prod(shape))
        end = self._position + count * np.dtype(kind).itemsize
        if end > len(self._content):
            raise HeadFileError("it is cut")
        found = np.frombuffer(self._content, kind, count, self._position).reshape(shape)
        self._position = end
        if not np.isfinite(found).all():
            raise HeadFileError("it has numbers that are not finite")
        return found.copy()

    def check_end(self) -> None:
        if self._position != len(self._content):
            raise HeadFileError("it is longer than it says")


def to_bytes(taught: Taught) -> bytes:
    """The file of a head."""
    frames, layer = taught.frames, taught.layer
    header = {
        "backbone": asdict(taught.backbone),
        "method": taught.method,
        "labels": [_described(label, moment) for label, moment in taught.classes.items()],
        "frames": _described("", frames) if frames else None,
        "fingerprint": taught.fingerprint,
    }
    arrays = [moment.total.astype("<f8") for moment in taught.classes.values()]
    arrays += [frames.total.astype("<f8")] if frames else []
    numbers = b"".join(array.tobytes() for array in arrays)
    if layer:
        numbers += layer.weights.astype("<f2").tobytes() + layer.bias.astype("<f4").tobytes()
    content = json.dumps(header, separators=(",", ":")).encode() + b"\n" + numbers
    return b"%s%s\n%s\n%s" % (_MAGIC, _FORMAT, hashlib.sha256(content).hexdigest().encode(), content)


def from_bytes(content: bytes) -> Taught:
    """Read what `to_bytes` has made. Raises HeadFileError, which says what is wrong."""
    first, _, rest = content.partition(b"\n")
    if not first.startswith(_MAGIC):
        raise HeadFileError("it is no head")
    if first != _MAGIC + _FORMAT:
        raise HeadFileError("it is of another format: a newer edge-agent may have written it")
    digest, _, rest = rest.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise HeadFileError("its sha256 is not the one that it names")
    line, _, numbers = rest.partition(b"\n")
    try:
        if len(line) > _LONGEST_HEADER:
            raise HeadFileError("its header is too long")
        return _taught(read(_Header, parse(line)), _Numbers(numbers))
    except (JsonError, TeachError) as error:
        raise HeadFileError(str(error)) from None


def save(path: Path, taught: Taught) -> None:
    """Replace the head at `path`, and keep the one before as `<name>.previous`. Raises OSError.

    A reader, also after a power cut, finds the old one or the new one. A file that cannot be read is set
    aside and does not become the predecessor.
    """
    try:
        former = _content(path)
        from_bytes(former)
    except FileNotFoundError:
        pass
    except HeadFileError as error:
        _set_aside(path, error)
    else:
        write_atomic(previous_of(path), former)
    write_atomic(path, to_bytes(taught))


def load(path: Path, backbone: Backbone | None = None) -> Taught:
    """Read the head at `path`, which must be of this backbone where one is given. Raises HeadFileError."""
    try:
        taught = from_bytes(_content(path))
        if backbone is not None:
            _check_backbone(taught.backbone, backbone)
    except OSError as error:
        raise HeadFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except HeadFileError as error:
        raise HeadFileError(f"{path}: cannot be used: {error}") from None
    return taught


def checked(content: bytes, backbone: Backbone) -> Taught:
    """Read a head that is not a file yet, and must be of this backbone. Raises HeadFileError."""
    if len(content) > MOST_BYTES:
        raise HeadFileError(f"it is larger than {MOST_BYTES} bytes")
    taught = from_bytes(content)
    _check_backbone(taught.backbone, backbone)
    return taught


def retire(path: Path) -> None:
    """Take away the head at `path`, and keep it as the predecessor. Raises OSError."""
    try:
        from_bytes(_content(path))
    except FileNotFoundError:
        pass
    except HeadFileError as error:
        _set_aside(path, error)
    else:
        path.replace(previous_of(path))


def revert(path: Path, backbone: Backbone | None = None) -> Taught:
    """Put the predecessor in the place of the head at `path`, and return it.

    The head that was there is kept as `<name>.reverted`, an empty file where there was none. Raises
    HeadFileError where there is no predecessor that can be used, and OSError; in both cases the head stays.
    """
    previous = previous_of(path)
    if not previous.exists():
        raise HeadFileError(f"{path}: there is no head before this one")
    taught = load(previous, backbone)
    write_atomic(reverted_of(path), _content(path) if path.exists() else b"")
    previous.replace(path)
    return taught


def previous_of(path: Path) -> Path:
    """Where the predecessor of the head at `path` is kept."""
    return path.with_name(f"{path.name}.previous")


def reverted_of(path: Path) -> Path:
    """Where the head is kept that was at `path` before its predecessor came back."""
    return path.with_name(f"{path.name}.reverted")


def _set_aside(path: Path, damage: HeadFileError) -> None:
    aside = set_aside(path)
    say(_LOG, logging.ERROR, f"{path} was damaged ({damage}): it is kept as {aside.name}")


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise HeadFileError(f"it is larger than {MOST_BYTES} bytes")
    return content


def _described(label: str, moment: Moment) -> dict[str, object]:
    return {"label": label, "count": moment.count, "squares": moment.squares}


def _taught(header: _Header, numbers: _Numbers) -> Taught:
    names = [entry.label for entry in header.labels]
    if names != sorted(set(names)):
        raise HeadFileError("its labels are not in order")
    for name in names:
        check_label(name)
    features = header.backbone.features
    classes = {entry.label: _moment(entry, numbers, features) for entry in header.labels}
    frames = _moment(header.frames, numbers, features) if header.frames else None
    layer = _layer(numbers, len(names), features) if header.method == "regression" else None
    numbers.check_end()
    backbone = Backbone(header.backbone.sha256, header.backbone.arithmetic, features)
    return Taught(backbone, classes, frames, layer, header.fingerprint)


def _moment(sums: _Sums, numbers: _Numbers, features: int) -> Moment:
    """Raises HeadFileError where no examples can have such sums."""
    total = numbers.take("<f8", features).astype(np.float64)
    if np.abs(total).max() > sums.count * _LARGEST or not _are_units(total / UNIT, sums):
        raise HeadFileError("it has sums that no examples can have")
    return Moment(sums.count, total, sums.squares)


def _are_units(units: NDArray[np.float64], sums: _Sums) -> bool:
    """Whether whole numbers of UNIT can be a sum with such squares, by Cauchy and Schwarz."""
    least = 0.999 * float(units @ units) / sums.count
    most = sums.count * len(units) * _LARGEST_SQUARE
    return bool((units == np.rint(units)).all()) and least <= sums.squares <= most


def _layer(numbers: _Numbers, labels: int, features: int) -> Layer:
    weights = numbers.take("<f2", labels, features).astype(np.float16)
    return Layer(weights, numbers.take("<f4", labels).astype(np.float32))


def _check_backbone(taught: Backbone, present: Backbone) -> None:
    if taught.sha256 != present.sha256 or taught.features != present.features:
        raise HeadFileError(
            f"it was taught on another model (sha256 {taught.sha256[:12]}..., this one has"
            f" {present.sha256[:12]}...); teach it again, or go back to that model"
        )
    if taught.arithmetic != present.arithmetic:
        raise HeadFileError(
            f"it was taught with {taught.arithmetic}, and the model runs with {present.arithmetic};"
            " teach it again, or choose that engine and precision"
        )

"""Examples that the owner has shown: checked, without near-duplicates, bounded for each label and in all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import TeachError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import MOST_FEATURES
from edge_agent.model.sidecar import is_clean
from edge_agent.system.text import printable

UNKNOWN = "unknown"
"""What is answered for something that was never shown; no label can have this name."""
NONE = "none"
"""The label of examples that show nothing of interest: taught like any other, and answered as unknown."""

LONGEST_LABEL = 64
MOST_THUMBNAIL_BYTES = 64 << 10
MOST_LABELS = 64
BURST_GAP_S = 60.0
NIGHT = 50.0
"""A mean brightness below it, of 255, counts as night."""

Feature = NDArray[np.float16]
Verdict = Literal["added", "replaced", "duplicate"]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A frame that the owner has given a name.

    `feature` has shape (features,), FP16 and finite, and must not be written to. `time_s` is in seconds
    since 1970, `brightness` the mean of the picture, 0 to 255. Examples of one `burst` were taken in one go:
    they resemble each other more than they will resemble another day. `thumbnail` is a JPEG, with which a new
    network can be taught again; empty where there is none. Raises TeachError for whatever is not like that.
    """

    label: str
    feature: Feature
    time_s: float
    brightness: float
    burst: int
    thumbnail: bytes = b""

    def __post_init__(self) -> None:
        check_label(self.label)
        check_feature(self.feature)
        if not (math.isfinite(self.time_s) and 0 <= self.brightness <= 255 and 0 <= self.burst < 1 << 31):
            raise TeachError(f"an example of {self.label!r} has a time, brightness or burst out of range")
        if len(self.thumbnail) > MOST_THUMBNAIL_BYTES:
            raise TeachError(
                f"the thumbnail of an example of {self.label!r} has {len(self.thumbnail)} bytes;"
                f" make it smaller than {MOST_THUMBNAIL_BYTES}"
            )

    @property
    def is_night(self) -> bool:
        return self.brightness < NIGHT

    @property
    def key(self) -> str:
        """32 hexadecimal digits: another example has the same only if it is the same, thumbnail or not.

        The burst is no part of it, since it says which others there are, see `grouped`.
        """
        digest = hashlib.blake2b(digest_size=16)
        numbers = f"{float(self.time_s).hex()} {float(self.brightness).hex()}"
        for part in (self.label.encode(), numbers.encode(), self.feature.tobytes()):
            digest.update(len(part).to_bytes(4, "little"))
            digest.update(part)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An example that stays on disk: its feature is read again each time, which may raise TeachError.

    So that hundreds of them can be learnt from without being in memory.
    """

    label: str
    time_s: float
    brightness: float
    burst: int
    key: str
    place: int
    """What `read` is given."""
    read: Callable[[int], Feature]

    @property
    def feature(self) -> Feature:
        return self.read(self.place)

    @property
    def is_night(self) -> bool:
        return self.brightness < NIGHT


AnyExample = Example | Kept
"""What can be learnt from."""

_Kind = TypeVar("_Kind", Example, Kept)
_Either = TypeVar("_Either", bound=AnyExample)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept. The defaults bound the features to 0.5 MB where one has 512 numbers."""

    labels: int = 20
    per_label: int = 50
    in_all: int = 500
    duplicate: float = 0.9995
    """Cosine between features of one label from which on a new one says nothing new."""


class Examples:
    """The examples of one camera and network, in the order in which they came.

    Whether an example is taken depends on those before it. What is made of the examples that were taken
    depends on nothing but them: never on their order, nor on one that has been removed.
    """

    def __init__(self, limits: Limits | None = None, examples: Iterable[Example] = ()) -> None:
        """Begin with `examples` as they are. Raises TeachError if there are too many, or two do not fit."""
        self._limits = limits or Limits()
        self._examples: dict[str, Example] = {}
        for example in examples:
            self._check_fit(example)
            self._examples[example.key] = example
        counts = self.counts()
        if len(self) > self._limits.in_all or any(n > self._limits.per_label for n in counts.values()):
            raise TeachError(f"there are {len(self)} examples, more than the limits allow; remove some")

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self._examples.values())

    def __contains__(self, key: object) -> bool:
        return key in self._examples

    def counts(self) -> dict[str, int]:
        """How many examples each label has."""
        found: dict[str, int] = {}
        for example in self:
            found[example.label] = found.get(example.label, 0) + 1
        return found

    def add(self, example: Example) -> tuple[Verdict, tuple[str, ...]]:
        """Take an example, and return what became of it and the keys of those that it has replaced.

        One that is nearly the same as another of its label is skipped. Where its label is full, of the two
        examples that are most alike the older goes. Raises TeachError where there is no room for another.
        """
        self._check_fit(example)
        mine = [each for each in self if each.label == example.label]
        if _highest_cosine(example, mine) >= self._limits.duplicate:
            return "duplicate", ()
        if len(mine) >= self._limits.per_label:
            gone = _older_of_the_closest([*mine, example])
            del self._examples[gone.key]
            self._examples[example.key] = example
            return "replaced", (gone.key,)
        if len(self) >= self._limits.in_all:
            raise TeachError(f"there are {len(self)} examples, and room for no more; remove some")
        self._examples[example.key] = example
        return "added", ()

    def remove(self, key: str) -> Example | None:
        """Forget an example and return it; None where there is none with this key."""
        return self._examples.pop(key, None)

    def _check_fit(self, example: Example) -> None:
        first = next(iter(self), example)
        if len(first.feature) != len(example.feature):
            raise TeachError(
                f"an example of {example.label!r} has {len(example.feature)} features, the others have"
                f" {len(first.feature)}: they are of different networks"
            )
        labels = {each.label for each in self} | {example.label}
        if len(labels) > self._limits.labels:
            raise TeachError(f"there are {self._limits.labels} labels, and room for no more; remove one")


def check_label(label: str) -> None:
    """Raise TeachError where `label` cannot be one."""
    if not 0 < len(label) <= LONGEST_LABEL or not is_clean(label) or label != label.strip():
        raise TeachError(
            f"{printable(label, LONGEST_LABEL)!r} cannot be a label: expected 1 to {LONGEST_LABEL} printable"
            " characters, and no blank at either end"
        )
    if label.casefold() == UNKNOWN:
        raise TeachError(f"{label!r} cannot be taught: it is the answer for what was never shown")


def check_feature(feature: Feature) -> None:
    """Raise TeachError where `feature` is none: 1-D, FP16, finite, and not all zero."""
    if feature.dtype != np.float16 or feature.ndim != 1 or not 0 < feature.size <= MOST_FEATURES:
        raise TeachError(f"a feature must be 1 to {MOST_FEATURES} numbers in FP16")
    if not np.isfinite(feature).all() or not feature.any():
        raise TeachError("a feature has numbers that are not finite, or nothing but zeros")


def grouped(examples: Iterable[_Kind]) -> list[_Kind]:
    """The examples, in their order, with bursts by when they were taken: BURST_GAP_S without one end a burst.

    So bursts depend on nothing but which examples there are.
    """
    same = list(examples)
    times = sorted({each.time_s for each in same})
    gaps = (later - earlier > BURST_GAP_S for earlier, later in pairwise(times))
    bursts = dict(zip(times, accumulate(gaps, initial=0), strict=True)) if times else {}
    return [replace(each, burst=bursts[each.time_s]) for each in same]


def in_order(examples: Iterable[_Either]) -> list[_Either]:
    """The examples in the one order in which everything is computed, however they came."""
    bursts = groupby(sorted(examples, key=_label_and_burst), key=_label_and_burst)
    # One burst at a time: `sorted` copies the features of all that it sorts.
    return [each for _, mine in bursts for each in sorted(mine, key=lambda each: each.feature.tobytes())]


def labels_of(examples: Iterable[AnyExample]) -> tuple[str, ...]:
    """The labels in their order."""
    return tuple(sorted({each.label for each in examples}))


def fingerprint(examples: Iterable[AnyExample]) -> str:
    """The SHA-256 over what a head is made of: the same for the same examples in any order."""
    return fingerprint_in_order(in_order(examples))


def fingerprint_in_order(examples: Iterable[AnyExample]) -> str:
    """That of examples that are in their order."""
    digest = hashlib.sha256()
    for each in examples:
        feature = each.feature
        digest.update(f"{each.label}\n{each.burst} {len(feature)}\n".encode())
        digest.update(feature.tobytes())
    return digest.hexdigest()


def _label_and_burst(example: AnyExample) -> tuple[str, int]:
    return example.label, example.burst


def _units(examples: Sequence[Example]) -> NDArray[np.float32]:
    rows = np.stack([each.feature for each in examples]).astype(np.float32)
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows


def _highest_cosine(example: Example, others: Sequence[Example]) -> float:
    if not others:
        return -1.0
    return float(np.einsum("ij,j->i", _units(others), _units([example])[0]).max())


def _older_of_the_closest(examples: Sequence[Example]) -> Example:
    rows = _units(examples)
    alike = rows @ rows.T
    np.fill_diagonal(alike, -2.0)
    first, second = divmod(int(np.argmax(alike)), len(examples))
    return examples[min(first, second)]

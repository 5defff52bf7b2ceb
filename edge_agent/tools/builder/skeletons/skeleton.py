"""A skeleton: a network's code, structure and origin, without its weights; and its file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing
from edge_agent.tools.builder.modules import Module, Shape

_ENTRY = "skeleton.json"
_LARGEST_BYTES = 16 << 20
_VERSION = 1

Plain = None | bool | int | float | str | list[Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A module of the network: its class in the code, its weights' shapes, plain values, and modules."""

    class_name: str
    weights: Mapping[str, Shape] = field(default_factory=dict)
    values: Mapping[str, Plain] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)

    def module(self) -> Module:
        """See it as a tree of names and shapes."""
        own_class = self.class_name.rpartition(".")[2]
        return Module(own_class, self.weights, {name: part.module() for name, part in self.parts.items()})

    def at(self, name: str) -> Part:
        """Return the part of a dotted name. Raises KeyError."""
        first, _, rest = name.partition(".")
        return self.parts[first].at(rest) if rest else self.parts[first]

    def with_part(self, name: str, part: Part) -> Part:
        """Return it with another part in the place of a dotted name."""
        first, _, rest = name.partition(".")
        inner = self.parts[first].with_part(rest, part) if rest else part
        return replace(self, parts={**self.parts, first: inner})


@dataclass(frozen=True, slots=True)
class Skeleton:
    """An architecture whose weights are still to come."""

    name: str
    preprocessing: Preprocessing
    source: str
    """Of its own weights, for instance `IMAGENET1K_V1`; the name of a package where they have no `url`."""
    url: str
    last: str
    """The module that the number of classes depends on, for instance `fc`."""
    size: int | None
    """The only side of a square that the code is right for, in pixels; None where any is."""
    recorded_with: str
    """The versions of torch and of the network's package."""
    code: Mapping[str, str]
    """The source of each module, as in a TorchScript archive."""
    constants: tuple[tuple[str, float], ...]
    """What the code calls `CONSTANTS.c0`, ...: numbers in the shape of tensors, with their types of numpy."""
    root: Part
    plain_root: Part | None
    """The network without an input transform of its own, where it has one: for one channel."""


def encode(skeleton: Skeleton) -> bytes:
    """Return the file of a skeleton: the same bytes for the same skeleton."""
    seen = skeleton.preprocessing
    document = {
        "version": _VERSION,
        "name": skeleton.name,
        "preprocessing": [seen.resize, seen.crop, seen.mean, seen.std, seen.interpolation],
        "source": skeleton.source,
        "url": skeleton.url,
        "last": skeleton.last,
        "size": skeleton.size,
        "recorded_with": skeleton.recorded_with,
        "code": dict(sorted(skeleton.code.items())),
        "constants": skeleton.constants,
        "root": _packed(skeleton.root),
        "plain_root": skeleton.plain_root and _packed(skeleton.plain_root),
    }
    file = BytesIO()
    entry = zipfile.ZipInfo(_ENTRY, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, json.dumps(document, separators=(",", ":")), compresslevel=9)
    return file.getvalue()


def decode(file: bytes, name: str) -> Skeleton:
    """Read the file of a skeleton. Raises ModelError, which calls it `name`, where it is damaged."""
    try:
        with zipfile.ZipFile(BytesIO(file)) as archive:
            if archive.getinfo(_ENTRY).file_size > _LARGEST_BYTES:
                raise ModelError(f"{name}: damaged: too large; install edge-agent again")
            document = json.loads(archive.read(_ENTRY))
        if document["version"] != _VERSION:
            raise ModelError(f"{name}: is of another version of edge-agent; install it again")
        resize, crop, mean, std, interpolation = document["preprocessing"]
        return Skeleton(
            name=document["name"],
            preprocessing=Preprocessing(resize, crop, tuple(mean), tuple(std), interpolation),
            source=document["source"],
            url=document["url"],
            last=document["last"],
            size=document["size"],
            recorded_with=document["recorded_with"],
            code=document["code"],
            constants=tuple((kind, value) for kind, value in document["constants"]),
            root=_unpacked(document["root"]),
            plain_root=document["plain_root"] and _unpacked(document["plain_root"]),
        )
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, OSError, RecursionError) as error:
        raise ModelError(f"{name}: damaged; install edge-agent again") from error


def _packed(part: Part) -> list[Any]:
    parts = {name: _packed(inner) for name, inner in part.parts.items()}
    return [part.class_name, {name: list(shape) for name, shape in part.weights.items()}, part.values, parts]


def _unpacked(packed: list[Any]) -> Part:
    class_name, weights, values, parts = packed
    return Part(
        class_name,
        {name: tuple(shape) for name, shape in weights.items()},
        values,
        {name: _unpacked(inner) for name, inner in parts.items()},
    )

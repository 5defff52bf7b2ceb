"""Reads a pickle that lies in an archive with the storages that it refers to."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import ModelError
from edge_agent.system.text import listed, printable
from edge_agent.tools.builder.archive.machine import Made, Makers, PickleError, unpickle
from edge_agent.tools.builder.archive.names import Constant, Names, build
from edge_agent.tools.builder.archive.tensors import (
    DTYPES,
    Storage,
    TensorError,
    item_bytes,
    storage_of,
)

_TYPES_SHOWN = 3
_STORAGE_KEY = re.compile(r"[A-Za-z0-9_./-]{1,200}")

ReadStorage = Callable[[str], memoryview]
"""Returns the bytes of the storage with a key."""


def read_pickle(
    path: Path, data: memoryview, read_storage: ReadStorage, *, with_code: bool = False, begin: int = 0
) -> Made:
    """Read the pickle at `begin` in `data`, which lies in the file `path`.

    `with_code`: whether it is TorchScript. Raises ModelError, which says what is wrong with the file, or
    which types in it are more than tensors and plain values.
    """
    storages: dict[str, Storage] = {}

    def persistent(identifier: object) -> object:
        key, dtype, elements = _described(identifier)
        if key not in storages:
            storages[key] = storage_of(read_storage(key)[: elements * item_bytes(dtype)], dtype)
        return storages[key]

    return _read(path, data, Names(with_code), persistent, begin)


def _read(
    path: Path, data: memoryview, names: Names, persistent: Callable[[object], object], begin: int
) -> Made:
    try:
        made = unpickle(data, Makers(names.find, persistent, build), begin)
    except (PickleError, TensorError, RecursionError) as error:
        if names.strange:
            raise ModelError(f"{printable(path)}: {_more_than_tensors(names.strange)}") from error
        raise ModelError(
            f"{printable(path)}: damaged, or not written by torch: {printable(str(error), 200)}"
        ) from error
    if names.strange:
        raise ModelError(f"{printable(path)}: {_more_than_tensors(names.strange)}")
    return made


@dataclass(frozen=True, slots=True)
class Described:
    """What a pickle says of the storages that it refers to."""

    bytes_by_key: dict[str, int]
    end: int
    """Where the pickle ends."""


def described_storages(path: Path, data: memoryview, *, begin: int) -> Described:
    """Read a pickle for the sizes of its storages, which lie behind it. Raises ModelError."""
    sizes: dict[str, int] = {}

    def persistent(identifier: object) -> object:
        key, dtype, elements = _described(identifier)
        sizes[key] = max(sizes.get(key, 0), elements * item_bytes(dtype))
        return None

    return Described(sizes, _read(path, data, Names(makes_tensors=False), persistent, begin).end)


def _described(identifier: object) -> tuple[str, str, int]:
    """Key, type and number of elements of a storage, as its persistent id says them."""
    match identifier:
        case ("storage", Constant(of=str(kind)), str(key) | int(key), _, int(elements), *_):
            name = str(key)
            if kind in DTYPES and elements >= 0 and _STORAGE_KEY.fullmatch(name):
                return name, DTYPES[kind], elements
    raise PickleError(f"it refers to a storage by {printable(repr(identifier), 80)}")


def _more_than_tensors(types: Collection[str]) -> str:
    advice = "save the weights alone with torch.save(model.state_dict(), FILE)"
    found = listed(sorted(types), _TYPES_SHOWN, 80)
    if any(name.startswith(("torch.nn.modules.", "torchvision.models.", "timm.")) for name in types):
        return f"holds more than tensors, a whole network ({found}), which could run code; {advice}"
    return f"holds more than tensors ({found}), and is not loaded, since it could run code; {advice}"

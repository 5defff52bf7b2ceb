"""Reads what `torch.save` wrote, now as a zip and once as pickles in a row; and safetensors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.system.text import printable
from edge_agent.tools.builder.archive.contents import ScriptObject
from edge_agent.tools.builder.archive.pickles import described_storages, read_pickle
from edge_agent.tools.builder.archive.script_file import open_archive
from edge_agent.tools.builder.archive.tensors import TensorError, storage_of, tensor_of
from edge_agent.tools.builder.archive.zipped import ZipView, map_file

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT_BYTES = 8
_DEEPEST = 100
_LARGEST_HEADER_BYTES = 64 << 20
_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bf16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_zip(path: Path) -> object:
    """Return the object in a file of torch's format since 1.6. Raises ModelError."""
    view = ZipView(path)
    if view.is_big_endian:
        raise ModelError(f"{printable(path)}: was written on a big-endian machine: save it on this one again")
    return read_pickle(path, view.read("data.pkl"), lambda key: view.read(f"data/{key}")).value


def read_legacy(path: Path) -> object:
    """Return the object in a file of torch's format before 1.6.

    That is a magic number, a protocol, a description of the machine, the object, the keys of its storages,
    each a pickle, and then the storages. Raises ModelError.
    """
    data, place = map_file(path), 0
    for expected in (_MAGIC, _PROTOCOL, None):  # the last is what the machine was like
        made = read_pickle(path, data, _no_storage, begin=place)
        if expected not in (None, made.value):
            raise ModelError(
                f"{printable(path)}: not a file of weights that torch can read: not written by"
                " torch.save(model.state_dict(), FILE)"
            )
        place = made.end
    sizes = described_storages(path, data, begin=place)
    keys = read_pickle(path, data, _no_storage, begin=sizes.end)
    if not isinstance(keys.value, list) or not all(isinstance(key, str | int) for key in keys.value):
        raise ModelError(f"{printable(path)}: damaged: the keys of its storages are missing")
    storages, begin = {}, keys.end
    for key in map(str, keys.value):
        begin += _COUNT_BYTES
        end = begin + sizes.bytes_by_key.get(key, 0)
        storages[key] = data[begin:end]
        begin = end
    if sizes.bytes_by_key.keys() - storages.keys() or begin > len(data):
        raise ModelError(f"{printable(path)}: cut off or damaged (a storage is missing): fetch it again")

    def read_storage(key: str) -> memoryview:
        return storages[key]

    return read_pickle(path, data, read_storage, begin=place).value


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a safetensors file, by name. Raises ModelError."""
    data = map_file(path)
    begin = _COUNT_BYTES + int.from_bytes(data[:_COUNT_BYTES], "little")
    if begin > min(len(data), _LARGEST_HEADER_BYTES):
        raise ModelError(f"{printable(path)}: cut off or damaged (its header is not whole): fetch it again")
    try:
        header = json.loads(bytes(data[_COUNT_BYTES:begin]))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _safe_tensor(data[begin:], entry) for name, entry in entries.items()}
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError, TensorError) as error:
        raise ModelError(
            f"{printable(path)}: damaged, or no safetensors file: {printable(str(error), 200)}"
        ) from error


def read_script_state(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a TorchScript file by their names in its network. Raises ModelError."""
    state: dict[str, NDArray[Any]] = {}
    _collect(open_archive(path).root, "", state, _DEEPEST)
    if not state:
        raise ModelError(
            f"{printable(path)}: this is a frozen TorchScript file: its weights have lost their names; build"
            " the network that it holds, without --arch; or save the network before it is frozen, or its"
            " weights with torch.save(model.state_dict(), FILE)"
        )
    return state


def _collect(module: ScriptObject, prefix: str, state: dict[str, NDArray[Any]], deepest: int) -> None:
    for name, value in module.attributes.items():
        if isinstance(value, np.ndarray):
            state[prefix + name] = value
        elif isinstance(value, ScriptObject) and deepest and len(state) < 1 << 20:
            _collect(value, f"{prefix}{name}.", state, deepest - 1)


def _no_storage(_key: str) -> memoryview:
    raise TensorError("a storage is not where it should be")


def _safe_tensor(data: memoryview, entry: dict[str, Any]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end <= len(data)):
        raise TensorError("a tensor is not where it should be")
    shape = entry["shape"]
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return tensor_of(storage_of(data[begin:end], _SAFETENSORS[entry["dtype"]]), 0, shape, strides)

"""Finds out by its first bytes what a weights file is, so that a wrong one is called by its name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from edge_agent.errors import ModelError
from edge_agent.system.text import printable

Kind = Literal["checkpoint", "torchscript", "safetensors"]
"""What `torch.save` wrote, or what `torch.jit.save` did, or safetensors."""

_HEAD_BYTES = 512
_SAVE = "save the weights alone with torch.save(model.state_dict(), FILE)"
_AGAIN = "download it again, from the address of the file itself"
_UNPACK = "unpack it, and give the weights file that is in it"
_BY_START: Mapping[bytes, tuple[str, str]] = {
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "fetch it with `git lfs pull`"),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file, as Keras writes it", "only PyTorch's weights can be built"),
    b"GGUF": ("a GGUF file, a language model", "only classifiers of torchvision can be built"),
    b"\x1f\x8b": ("packed by gzip", _UNPACK),
    b"BZh": ("packed by bzip2", _UNPACK),
    b"\xfd7zXZ\x00": ("packed by xz", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("packed by 7-Zip", _UNPACK),
    b"Rar!": ("packed by RAR", _UNPACK),
    b"\x93NUMPY": ("an array of NumPy", _SAVE),
    b"\xff\xd8\xff": ("a JPEG picture", "give the weights file"),
    b"\x89PNG": ("a PNG picture", "give the weights file"),
    b"%PDF": ("a PDF document", "give the weights file"),
    b"\x7fELF": ("a program", "give the weights file"),
}
_ONNX = ("an ONNX model", "it has no weights that a network of torchvision could take; " + _SAVE)
_HTML = re.compile(rb"\s*(<!doctype|<html|<\?xml|<head|<!--)", re.IGNORECASE)


def kind_of(path: Path) -> Kind:
    """Return how a file of PyTorch was written.

    Raises ModelError, which says what the file is and what to do, for one that is no file of PyTorch.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error
    if found := _stranger(head):
        is_what, advice = found
        raise ModelError(f"{printable(path)}: this is {is_what}: {advice}")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 30:
        return "safetensors"
    return _archive_kind(path) if head.startswith(b"PK\x03\x04") else "checkpoint"


def _stranger(head: bytes) -> tuple[str, str] | None:
    if not head:
        return "an empty file", "the download or the copy failed; fetch it again"
    for start, found in _BY_START.items():
        if head.startswith(start):
            return found
    if _HTML.match(head):
        return "a page of HTML, perhaps the one for logging in", _AGAIN
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model", "only PyTorch's weights can be built"
    if head[:1] == b"\x08" and re.match(rb"\x08.[\x12\x1a\x22\x3a]", head, re.DOTALL):
        return _ONNX
    if _is_text(head):
        return "a text", "give the weights file that torch.save wrote"
    if not any(head):
        return "nothing but zeros", "the download or the copy failed; fetch it again"
    return None


def _is_text(head: bytes) -> bool:
    return len(head) >= 16 and all(byte >= 32 or byte in b"\t\r\n" for byte in head) and head.isascii()


def _archive_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"{printable(path)}: cut off or damaged (an archive without its end): fetch it again"
        ) from error
    tops = {name.partition("/")[2] or name for name in names}
    if "data.pkl" in tops:
        return "torchscript" if "constants.pkl" in tops else "checkpoint"
    raise ModelError(f"{printable(path)}: this is {_other_archive(names)}")


def _other_archive(names: Sequence[str]) -> str:
    if "model.weights.h5" in names:
        return "a model of Keras: only PyTorch's weights can be built"
    if any(name.endswith(("serialized_exported_program.json", "models/model.json")) for name in names):
        return f"a program of torch.export: {_SAVE}"
    if names and all(name.endswith(".npy") for name in names):
        return f"arrays of NumPy: {_SAVE}"
    inside = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".bin"))]
    where = f" ({printable(inside[0], 60)})" if inside else ""
    return f"a zip archive: {_UNPACK}{where}"

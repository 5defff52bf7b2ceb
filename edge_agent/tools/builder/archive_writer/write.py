"""Writes a plan as a TorchScript archive, which torch loads as a module; torch itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import ModelError
from edge_agent.model.plan import Plan, Precision
from edge_agent.tools.builder.archive_writer.pickle_writer import EMPTY_TUPLE, boolean, pickle_module, tensor
from edge_agent.tools.builder.archive_writer.source import CLASS_NAME, Source, source_of
from edge_agent.tools.builder.archive_writer.stored_zip import StoredZip
from edge_agent.tools.builder.archive_writer.weights import Array

_FOLDER = "archive"
_VERSION = b"3\n"
"""Of the format and of the operators: the one of torch 1.6, which every release since then reads."""


def write_archive(path: Path, plan: Plan, constants: Mapping[int, Array], precision: Precision) -> None:
    """Write a plan as a TorchScript module whose weights are stored in `precision`, whatever the plan's own.

    The module takes FP32 pictures, (1, channels, height, width) in channels_last memory format, and returns
    FP32 logits, (1, classes). `constants`: the FP32 values of the plan's constants, by tensor; they may be
    mapped from a file, as no more than a few megabytes are copied at a time. The same plan and constants give
    the same bytes.

    The file is written whole or not at all. Raises ModelError when it cannot be written.
    """
    source = source_of(plan, constants, precision)
    unfinished = path.with_name(f"{path.name}.new")
    try:
        try:
            with unfinished.open("wb") as file:
                _write(file, source)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror or error}") from error


def _write(file: BinaryIO, source: Source) -> None:
    entries = {name: str(number) for number, name in enumerate(source.tensors)}
    attributes = {"training": boolean(False)} | {
        name: tensor(entries[name], stored.storage, stored.shape, stored.strides, stored.elements)
        for name, stored in source.tensors.items()
    }
    with StoredZip(file, _FOLDER) as archive:
        archive.add("data.pkl", [pickle_module(CLASS_NAME, attributes)])
        archive.add("code/__torch__.py", [source.code.encode()])
        archive.add("constants.pkl", [EMPTY_TUPLE])
        for name, stored in source.tensors.items():
            archive.add(f"data/{entries[name]}", stored.pieces())
        archive.add("version", [_VERSION])
        archive.add("byteorder", [b"little"])

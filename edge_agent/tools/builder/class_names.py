"""The names of a network's classes: ImageNet's, or those of a label file."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import LONGEST_LABEL
from edge_agent.system.json_reader import JsonError, parse
from edge_agent.system.text import printable
from edge_agent.tools.builder.label_table import Entry, LabelFileError, number_in, read_table, tidy

IMAGENET_CLASSES = 1000
_IMAGENET_LABELS = Path(__file__).with_name("imagenet_labels.txt")
_LARGEST_BYTES = 4 << 20
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Keys under which training programs keep the classes in a larger document.
_WRAPPERS = (
    "class_to_idx",
    "idx_to_class",
    "id2label",
    "label2id",
    "labels",
    "classes",
    "names",
    "categories",
)


def imagenet_labels() -> tuple[str, ...]:
    """Return the labels of ImageNet-1k in the order of torchvision's and EfficientNet-Lite's logits."""
    return tuple(_IMAGENET_LABELS.read_text(encoding="utf-8").splitlines())


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the labels of a UTF-8 file, in the order of the logits.

    Understood are one label a line; a table of two columns, of which one is the class number, counted from 0,
    with a header or without; and JSON, or the same as Python prints it: a list of labels, or an object from
    label to number or from number to label. Quotes around a label go.

    Raises ModelError, which names the line or the entry, where a label is missing, repeated, too long, or has
    a control character in it, or where the numbers are not 0, 1, 2 and so on.
    """
    try:
        text = _read_text(path)
        structured = text.lstrip().startswith(("[", "{"))
        return _checked(_read_document(text) if structured else read_table(text.rstrip().split("\n")))
    except LabelFileError as error:
        raise ModelError(f"{printable(path)}: {error}") from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise LabelFileError(f"cannot be read: {error.strerror or error}") from error
    if len(content) > _LARGEST_BYTES:
        raise LabelFileError(f"larger than {_LARGEST_BYTES >> 20} MB: this is no file of labels")
    if content.startswith(_UTF16_MARKS):
        raise LabelFileError("not UTF-8 text but UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise LabelFileError(f"not UTF-8 text: line {line}: {error.reason}; save it as UTF-8") from error


def _read_document(text: str) -> list[Entry]:
    document = _unwrapped(_parse(text))
    if isinstance(document, list):
        return [Entry(f"entry {place}", _name(item, f"entry {place}")) for place, item in enumerate(document)]
    if not isinstance(document, dict):
        raise LabelFileError(f"a {type(document).__name__}, not a list or an object of labels")
    by_number = [_numbered(key, value) for key, value in document.items()]
    numbers = [number for number, _ in by_number]
    if sorted(numbers) != list(range(len(numbers))):
        raise LabelFileError(f"its class numbers are {_few(numbers)}, not 0 to {len(numbers) - 1}, each once")
    return [Entry(f"class {number}", name) for number, name in sorted(by_number)]


def _parse(text: str) -> Any:
    try:
        return _parse_strictly(text)
    except JsonError as error:
        try:
            return ast.literal_eval(text.strip())  # a dict or list that was printed
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise LabelFileError(str(error)) from None


def _parse_strictly(text: str) -> object:
    """Return the JSON document in `text`. Raises JsonError also where an object has a key twice."""
    parse(text)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise LabelFileError(f"the key {printable(twice, 60)!r} is there twice")
        return found

    return json.loads(text, object_pairs_hook=once)


def _unwrapped(document: Any) -> Any:
    if isinstance(document, dict):
        for key in _WRAPPERS:
            if isinstance(document.get(key), dict | list):
                return document[key]
    return document


def _numbered(key: Any, value: Any) -> tuple[int, str]:
    """A class number and its label, whichever of the two is the key."""
    where = f"the entry {printable(str(key), 60)!r}"
    if type(value) is int:
        return value, tidy(str(key), where)
    number = number_in(str(key))
    if number is None:
        raise LabelFileError(f"{where} has no class number")
    return number, _name(value, where)


def _name(item: Any, where: str) -> str:
    """A label, which may stand last in a list, as in ImageNet's class index, or under `name`."""
    if isinstance(item, list | tuple) and item:
        item = item[-1]
    if isinstance(item, dict):
        item = item.get("name", item.get("label"))
    if not isinstance(item, str):
        raise LabelFileError(f"{where} is no label but {printable(repr(item), 60)}")
    return tidy(item, where)


def _checked(entries: Iterable[Entry]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for where, label in entries:
        if len(label) > LONGEST_LABEL:
            raise LabelFileError(f"{where} is longer than {LONGEST_LABEL} characters")
        if label in found:
            raise LabelFileError(
                f"{where} repeats the label of {found[label]}, {label!r}: each class needs a label of its own"
                " (labels.map in the agent's configuration merges classes)"
            )
        found[label] = where
    if not found:
        raise LabelFileError("has no labels")
    return tuple(found)


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + ", ..." * (len(numbers) > 5)

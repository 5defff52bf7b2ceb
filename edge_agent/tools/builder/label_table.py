"""Reads the lines of a label file: labels alone, or with the number of their class before or behind them."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from edge_agent.model.sidecar import is_clean
from edge_agent.system.text import printable

_INDEX_FIRST = re.compile(r"\s*[\"']?(\d{1,7})[\"']?(?:\s*([,;:=|\t])\s*|\s+)(\S.*)")
_INDEX_LAST = re.compile(r"(.*\S)(?:\s*([,;:=|\t])\s*|\s+)[\"']?(\d{1,7})[\"']?\s*,?")
_MOST_DIGITS = 7
_LONGEST_LINE = 2000
_DELIMITERS = (",", ";", "\t", "|")
_NAME_HEADS = (
    "label",
    "labels",
    "name",
    "class_name",
    "classname",
    "class name",
    "category",
    "class",
    "text",
)
_INDEX_HEADS = (
    "index",
    "idx",
    "id",
    "class_id",
    "class id",
    "class_idx",
    "label_id",
    "number",
    "class",
    "label",
)


class LabelFileError(Exception):
    """A label file is not understood; the message says where, without the file's name."""


class Entry(NamedTuple):
    """A label, and where it stands, for messages."""

    where: str
    label: str


class _Numbered(NamedTuple):
    line: int
    number: int
    label: str


def read_table(lines: Sequence[str]) -> list[Entry]:
    """Return the labels in the order of their classes. Raises LabelFileError."""
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            raise LabelFileError(f"line {place} is empty; there must be one label a line")
        if len(line) > _LONGEST_LINE:
            raise LabelFileError(f"line {place} is longer than {_LONGEST_LINE} characters")
    if all(line.lstrip().startswith("- ") for line in lines):  # a list in YAML
        lines = [line.lstrip()[2:] for line in lines]
    try:
        numbered = _with_header(lines) or _numbered(lines)
    except csv.Error as error:
        raise LabelFileError(f"not a table that can be read: {error}") from error
    if numbered is None:
        return [_plain(place, line) for place, line in enumerate(lines, start=1)]
    _check_numbers(numbered)
    return [
        Entry(f"line {row.line}", _label(row.label, f"line {row.line}"))
        for row in sorted(numbered, key=lambda row: row.number)
    ]


def tidy(label: str, where: str) -> str:
    """Return a label without outer blanks, in Unicode's usual form.

    Raises LabelFileError where nothing is left, or something that a terminal would not simply print.
    """
    label = unicodedata.normalize("NFC", label).strip()
    if not label:
        raise LabelFileError(f"{where} is empty; there must be one label a line")
    if not is_clean(label):
        shown = printable(label, 60)
        raise LabelFileError(f"{where} has a control character in it: {shown}; take it out")
    return label


def number_in(text: str) -> int | None:
    """The class number that `text` is; None where it is none."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _label(text: str, where: str) -> str:
    """A label without its quotes, and without the comma behind them."""
    text = text.strip()
    quote = text[:1]
    if quote and quote in "\"'":
        inner = text.rstrip(",").rstrip()
        if len(inner) > 1 and inner.endswith(quote):
            return tidy(inner[1:-1].replace(quote * 2, quote), where)
        if quote == '"':
            raise LabelFileError(f"{where} begins with a quote that nothing closes: {printable(text, 60)}")
    return tidy(text, where)


def _plain(place: int, line: str) -> Entry:
    where, label = f"line {place}", line.strip()
    if "\t" in label:
        raise LabelFileError(f"{where} has a tab in it, but no class number; write one label a line")
    if label.endswith((",", ";")) and label[0] not in "\"'":
        raise LabelFileError(f"{where} ends with {label[-1]!r}; write one label a line and nothing else")
    return Entry(where, _label(label, where))


def _with_header(lines: Sequence[str]) -> list[_Numbered] | None:
    """The rows of a table whose first line names its columns; None where it does not."""
    for delimiter in _DELIMITERS:
        head = [cell.strip().strip("\"'").lower() for cell in lines[0].split(delimiter)]
        names = _column(head, _NAME_HEADS)
        if len(head) < 2 or names is None or any(cell.isdecimal() for cell in head):
            continue
        numbers = _column(head, _INDEX_HEADS, but=names)
        if numbers is None and all(cell in _NAME_HEADS + _INDEX_HEADS for cell in head):
            raise LabelFileError("line 1 names columns, but none for the class number (index or id)")
        if numbers is None:
            continue
        return _rows(lines, delimiter, len(head), numbers, names)
    return None


def _column(head: Sequence[str], known: Sequence[str], but: int | None = None) -> int | None:
    """The place of the column with the first of the `known` heads that is there."""
    return next((head.index(name) for name in known if name in head and head.index(name) != but), None)


def _rows(
    lines: Sequence[str], delimiter: str, columns: int, numbers: int, names: int
) -> list[_Numbered] | None:
    rows = list(csv.reader(lines[1:], delimiter=delimiter, skipinitialspace=True))
    for place, row in enumerate(rows, start=2):
        if len(row) != columns:
            raise LabelFileError(f"line {place} has {len(row)} columns, the header has {columns}")
    if all(number_in(row[names]) is not None for row in rows):  # `class,label` may mean either
        numbers, names = names, numbers
    found = []
    for place, row in enumerate(rows, start=2):
        if (number := number_in(row[numbers])) is None:
            raise LabelFileError(f"line {place} has no class number but {printable(row[numbers], 60)!r}")
        found.append(_Numbered(place, number, row[names]))
    return found


def _numbered(lines: Sequence[str]) -> list[_Numbered] | None:
    """The rows where each line has a number at the same end; None where the lines are labels alone."""
    first = [_INDEX_FIRST.fullmatch(line) for line in lines]
    if all(first):
        rows = [_Numbered(i, int(m[1]), m[3]) for i, m in enumerate(first, start=1) if m]
        _refuse_more_columns([m[2] for m in first if m], rows)
        return rows
    last = [_INDEX_LAST.fullmatch(line) for line in lines]
    if all(last):
        rows = [_Numbered(i, int(m[3]), m[1]) for i, m in enumerate(last, start=1) if m]
        if all(m[2] for m in last if m) or _are_places([row.number for row in rows]):
            return rows
    for place, found in enumerate(first, start=1):
        if found and (found[2] or int(found[1]) <= len(lines)):
            raise LabelFileError(
                f"line {place} begins with a number, and not every line does: number all of them from 0, or"
                f" put quotes around a label that begins with a number: {printable(lines[place - 1], 60)}"
            )
    for place, found in enumerate(last, start=1):
        if found and found[2] and found[2] != ":" and lines[place - 1][0] not in "\"'":
            raise LabelFileError(
                f"line {place} ends with a number, and not every line does: {printable(lines[place - 1], 60)}"
            )
    return None


def _refuse_more_columns(separators: Sequence[str | None], rows: Sequence[_Numbered]) -> None:
    """A third column would become part of the label; commas in labels differ from line to line."""
    for delimiter in _DELIMITERS:
        if len(rows) > 1 and all(separator == delimiter for separator in separators):
            parsed = csv.reader([row.label for row in rows], delimiter=delimiter, skipinitialspace=True)
            if len(widths := {len(row) for row in parsed}) == 1 and widths != {1}:
                raise LabelFileError("line 1 has more than two columns; keep the class number and the label")


def _check_numbers(rows: Sequence[_Numbered]) -> None:
    first_line: dict[int, int] = {}
    for row in rows:
        if row.number in first_line:
            raise LabelFileError(
                f"line {row.line} repeats the class number of line {first_line[row.number]}, {row.number}"
            )
        first_line[row.number] = row.line
    for number in range(len(rows)):
        if number not in first_line:
            raise LabelFileError(
                f"class {number} has no line, though each of {len(rows)} lines has a class number: count from"
                " 0, or put quotes around a label that has a number at its end"
            )


def _are_places(numbers: Sequence[int]) -> bool:
    return sorted(numbers) == list(range(len(numbers)))

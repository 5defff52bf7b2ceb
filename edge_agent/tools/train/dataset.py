"""Labelled pictures: a folder for each label, or a table of paths and labels."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from edge_agent.errors import ModelError, TeachError
from edge_agent.sources.picture_files import pictures_below
from edge_agent.system.text import printable
from edge_agent.teach.examples import check_label
from edge_agent.tools.lesson_export import EXPORTED_NAME, FORMULA_SIGNS

TABLE_NAME = "pictures.csv"
TABLES = {TABLE_NAME: "path", EXPORTED_NAME: "picture"}
"""The tables that decide what is in a set, and their columns of paths; the first that is there counts."""
MOST_PICTURES = 200_000
_LARGEST_TABLE_BYTES = 64 << 20
_TIME_IN_NAME = re.compile(
    r"(20\d\d)-?(\d\d)-?(\d\d)[T_\- ]?(\d\d)[:\-.]?(\d\d)[:\-.]?(\d\d)(?:\.(\d{1,6}))?"
)


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled picture."""

    path: Path
    name: str
    """Its path below the set, with `/`: the same wherever the set is copied to."""
    label: str
    time_s: float | None
    """When it was taken, in seconds since 1970, by the table or the file's name; None where nothing says."""


def read_dataset(root: Path) -> tuple[Item, ...]:
    """Return the pictures of a set, in the order of their labels and names.

    Where there is a `pictures.csv` with the columns `path` and `label`, and perhaps `time` (ISO 8601), it
    decides, or the `examples.csv` of `edge-agent teach export`; otherwise each folder in `root` is a label,
    and holds its pictures at any depth. Raises ModelError, which names the line or the folder at fault.
    """
    table = next((path for name in TABLES if (path := root / name).is_file()), root / TABLE_NAME)
    try:
        found = list(_of_table(root, table) if table.is_file() else _of_folders(root))
    except OSError as error:
        raise ModelError(f"{printable(root)}: cannot be read: {error.strerror or error}") from error
    if not found:
        raise ModelError(
            f"{printable(root)}: no pictures there; make a folder for each label, with pictures in it"
        )
    if len({item.name for item in found}) < len(found):
        raise ModelError(f"{printable(table)}: names a picture twice; a picture has one label")
    return tuple(sorted(found, key=lambda item: (item.label, item.name)))


def labels_of(items: tuple[Item, ...]) -> tuple[str, ...]:
    """The labels in their order, which is that of the network's logits."""
    return tuple(sorted({item.label for item in items}))


def _of_folders(root: Path) -> Iterator[Item]:
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for folder in folders:
        label = _checked_label(folder.name, printable(folder))
        for count, path in enumerate(pictures_below(folder)):
            if count >= MOST_PICTURES:
                raise ModelError(f"{printable(folder)}: more than {MOST_PICTURES} pictures")
            name = path.relative_to(root).as_posix()
            yield Item(path, name, label, time_in(path.name))


def _of_table(root: Path, table: Path) -> Iterator[Item]:
    if table.stat().st_size > _LARGEST_TABLE_BYTES:
        raise ModelError(f"{printable(table)}: larger than {_LARGEST_TABLE_BYTES >> 20} MB")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            path_column = TABLES[table.name]
            if not {path_column, "label"} <= set(rows.fieldnames or ()):
                raise ModelError(f"{printable(table)}: line 1: expected the columns {path_column},label")
            for row in rows:
                where = f"{printable(table)}: line {rows.line_num}"
                if table.name != EXPORTED_NAME:
                    yield _row(root, row, where)
                elif name := row.get(path_column):
                    yield _row(root, row | {"path": name, "label": _plain(row.get("label") or "")}, where)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{printable(table)}: not a table in UTF-8: {error}") from error


def _row(root: Path, row: dict[str, str | None], where: str) -> Item:
    name, label, time = (row.get(key) or "" for key in ("path", "label", "time"))
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise ModelError(f"{where}: {printable(name, 80)!r} is no path below the set")
    try:
        time_s = datetime.fromisoformat(time).timestamp() if time else time_in(parts[-1])
    except (ValueError, OverflowError):
        raise ModelError(f"{where}: {printable(time, 60)!r} is no time in ISO 8601") from None
    return Item(root.joinpath(*parts), "/".join(parts), _checked_label(label, where), time_s)


def _plain(label: str) -> str:
    """A label as it was, before a mark kept spreadsheets from taking it for a formula."""
    return label[1:] if label[:1] == "'" and label[1:2] in FORMULA_SIGNS else label


def time_in(name: str) -> float | None:
    """The time in a file's name, taken as UTC: `20260131T235959.250Z.jpg`, `cam_2026-01-31_23-59-59.jpg`."""
    found = _TIME_IN_NAME.search(name)
    if found is None:
        return None
    *numbers, fraction = found.groups()
    try:
        year, month, day, hour, minute, second = map(int, numbers)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() + float(f"0.{fraction or 0}")


def _checked_label(label: str, where: str) -> str:
    try:
        check_label(label)
    except TeachError as error:
        raise ModelError(f"{where}: {error}") from None
    return label

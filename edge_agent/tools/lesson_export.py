"""Writes what a view was taught into a folder: a folder of pictures for each label, and a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.errors import UsageError
from edge_agent.teach.examples import Example
from edge_agent.teach.head import Backbone
from edge_agent.teach.lessons import Lessons

EXPORTED_NAME = "examples.csv"
FORMULA_SIGNS = ("=", "+", "-", "@")
"""With one of them at its front, a spreadsheet takes a cell for a formula."""

_ANY_NETWORK = Backbone("", "", 0)
_LONGEST_NAME = 48


@dataclass(frozen=True, slots=True)
class Exported:
    """How many examples the table lists, and how many of them have a picture."""

    examples: int
    pictures: int


def export(directory: Path, folder: Path) -> Exported:
    """Write the examples in `directory`, of whatever network, into `folder`, which is made or is empty.

    Raises UsageError where it is neither, or cannot be written, and TeachError.
    """
    lessons = Lessons(directory, _ANY_NETWORK)
    examples = lessons.everything()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty: name another folder")
        return _written(lessons, examples, folder)
    except PermissionError as error:
        hint = "this user may not write there; name another folder, below /tmp for instance"
        raise UsageError(f"{error.filename or folder}: {hint}") from error
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror or error}") from error


def _written(lessons: Lessons, examples: list[Example], folder: Path) -> Exported:
    folders = folder_names(each.label for each in examples)
    pictures = 0
    with (folder / EXPORTED_NAME).open("x", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("picture", "label", "time", "brightness", "burst", "key"))
        for each in examples:
            moment = datetime.fromtimestamp(each.time_s, UTC)
            name = ""
            if jpeg := lessons.thumbnail(each.key):
                name = f"{folders[each.label]}/{moment:%Y%m%d-%H%M%S}-{each.key[:8]}.jpg"
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(jpeg)
                pictures += 1
            row = (
                name,
                _cell(each.label),
                moment.isoformat(),
                f"{each.brightness:.1f}",
                each.burst,
                each.key,
            )
            table.writerow(row)
    return Exported(len(examples), pictures)


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A name for each label that any file system takes, and that is no other's."""
    names: dict[str, str] = {}
    for label in sorted(set(labels)):
        plain = re.sub(r"[^\w-]+", "_", label)[:_LONGEST_NAME].strip("_-") or "label"
        taken = {name.casefold() for name in names.values()}
        numbered = (f"{plain}-{number}" for number in range(2, len(taken) + 3))
        names[label] = next(name for name in (plain, *numbered) if name.casefold() not in taken)
    return names


def _cell(text: str) -> str:
    """A label that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text

"""Text that came from outside (file names, labels, what a broker or a camera says), made fit to be shown.

Whoever prints, logs or publishes such text puts it through `printable` first. Text that must arrive as it is,
and only has to be valid UTF-8 on the way, goes through `encodable`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

_CUT = "..."


def printable(text: str | os.PathLike[str], longest: int | None = None) -> str:
    r"""Return `text` in one line of printable characters, cut to `longest` of them where that is given.

    What is not printable is escaped as Python writes it: line breaks and terminal controls as `\n` or `\x1b`,
    signs that turn the direction of writing as `\u202e`, and a byte of a file name that is not UTF-8 as that
    byte, `\xff`. The result can always be encoded as UTF-8. Other text comes back as it is, so a backslash is
    not doubled.
    """
    shown = os.fspath(text)
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else _escaped(char) for char in shown)
    if longest is not None and len(shown) > longest:
        shown = shown[: longest - len(_CUT)] + _CUT
    return shown


def listed(names: Sequence[str], most: int, longest: int) -> str:
    """Return the first `most` names, each `printable` and cut to `longest`, and how many more there are."""
    shown = ", ".join(printable(name, longest) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def encodable(text: str) -> str:
    r"""Return `text`, with those characters escaped as `\udcff` that UTF-8 does not know: halves of pairs."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable_json(text: str) -> str:
    """Return the JSON `text` with every character in its strings that is not printable as `\\uXXXX`.

    It means the same: a reader of JSON finds the character itself.
    """
    if text.isprintable():
        return text
    # A line break can only stand between values here: in a string, JSON escapes it.
    return "".join(char if char.isprintable() or char == "\n" else _as_json(char) for char in text)


def plain_json(value: object) -> object:
    """Return plain values, of which JSON is made, with every text in them `encodable`."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {plain_json(name): plain_json(item) for name, item in value.items()}
    return [plain_json(item) for item in value] if isinstance(value, list | tuple) else value


class EscapedStream:
    """A stream for text whose every write is `printable`, line by line: no text from outside can move the
    cursor, colour the terminal, or pass for another line than its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        # A bar of progress begins with a carriage return; in the middle of a text there is no honest one.
        bar = text[: text.startswith("\r")]
        cells = ("\t".join(map(printable, line.split("\t"))) for line in text[len(bar) :].split("\n"))
        self._stream.write(bar + "\n".join(cells))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _as_json(char: str) -> str:
    return char if "\ud800" <= char <= "\udfff" else json.dumps(char)[1:-1]


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python holds the bytes of a file name that are not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return ascii(char)[1:-1]

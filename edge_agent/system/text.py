"""Text that came from outside (file names, labels, what a broker or a camera says), made fit to be shown.

Whoever prints, logs or publishes such text puts it through `printable` first. Text that must arrive as it is,
and only has to be valid UTF-8 on the way, goes through `encodable`.
"""

from __future__ import annotations

import os

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


def encodable(text: str) -> str:
    r"""Return `text`, with those characters escaped as `\udcff` that UTF-8 does not know: halves of pairs."""
    return text.encode("utf-8", "backslashreplace").decode()


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python holds the bytes of a file name that are not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return ascii(char)[1:-1]

"""Finds characters that the owner of a text cannot have meant: invisible ones, and lookalikes of others."""

from __future__ import annotations

import re

_QUOTES = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033\u2039\u203a\u00ab\u00bb\uff02\uff07"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"
_DOTS = "\u2024\u3002\ufe52\uff61"
_SLASHES = "\u2044\u2215\u29f8\u2571"
_COLONS = "\u02d0\u2236\u205a\ua789\ufe13\ufe55"
_FULL_WIDTH = re.compile("[\uff01-\uff60\uffe0-\uffe6]")
_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # printable, with nothing to be seen
_JOINERS = "\u200c\u200d"  # which some scripts and emoji need between their characters


def doubtful(text: str, *, is_technical: bool) -> tuple[str, str]:
    """Return what is wrong with `text` and a hint, or two empty texts; the text itself is not quoted.

    `is_technical`: a host, an id, a topic or a path, where no character may only look like another one.
    """
    if text.isascii():
        return "", ""
    for index, char in enumerate(text):
        if not _is_visible(text, index, is_technical=is_technical):
            return f"holds an invisible character (U+{ord(char):04X})", "type it again by hand"
    for end in (text[0], text[-1]):
        if end in _QUOTES:
            return f"begins or ends with a curly quote (U+{ord(end):04X})", "write straight quotes, \" or '"
    if not is_technical:
        return "", ""
    return next((found for char in text if (found := _lookalike(char))[0]), ("", ""))


def _is_visible(text: str, index: int, *, is_technical: bool) -> bool:
    char = text[index]
    if char.isprintable():
        return char not in _BLANKS and not (is_technical and "\ufe00" <= char <= "\ufe0f")
    if is_technical:
        return False
    if char in _JOINERS:
        neighbours = text[index - 1 : index] + text[index + 1 : index + 2]
        return len(neighbours) == 2 and not any(one.isascii() for one in neighbours)
    import unicodedata  # only where there is such a character

    return unicodedata.category(char) in ("Cn", "Co")  # this Python does not know it: a new emoji, an icon


def _lookalike(char: str) -> tuple[str, str]:
    looks = (
        ("a quote", _QUOTES, "write it without, or with straight quotes around it"),
        ("a dash", _DASHES, "write -"),
        ("a dot", _DOTS, "write ."),
        ("a slash", _SLASHES, "write /"),
        ("a colon", _COLONS, "write :"),
    )
    for name, characters, hint in looks:
        if char in characters:
            return f"holds {name} of another kind (U+{ord(char):04X})", hint
    if _FULL_WIDTH.match(char):
        return f"holds a full-width character (U+{ord(char):04X})", "type it with an ASCII keyboard"
    return "", ""

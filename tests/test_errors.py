"""The tree of errors in the docstring is the one in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from edge_agent import errors

PACKAGE = Path(errors.__file__).parent
Classes = set[tuple[str, str, str]]


def written() -> Classes:
    """The name, base and file of each error, as the sources have them."""
    found: Classes = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                place = str(file.relative_to(PACKAGE))
                found |= {(node.name, base.id, place) for base in node.bases if isinstance(base, ast.Name)}
    names = {"EdgeAgentError"}
    while more := {name for name, base, _ in found if base in names} - names:
        names |= more
    return {each for each in found if each[0] in names}


def shown() -> Classes:
    """The same, as the docstring has them."""
    found: Classes = set()
    path = ["Exception"]
    for indent, name, place in re.findall(
        r"(?m)^( *)(\w+Error|\w+Unavailable)\b(?:.* in (\S+\.py))?", errors.__doc__ or ""
    ):
        path[len(indent) // 2 + 1 :] = [name]
        found.add((name, path[-2], place or "errors.py"))
    return found


def test_the_docstring_shows_every_error_below_its_base() -> None:
    assert shown() == written()

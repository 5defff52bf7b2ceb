"""Reads a YAML file into nodes that know their line; refuses what a settings file never needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edge_agent.config.problem import InvalidConfigError, Problem, in_public

MAX_BYTES = 256 * 1024
_MAX_DEPTH = 16
_MAX_NODES = 20_000
_NULL = "tag:yaml.org,2002:null"

ANCHORED, TAGGED, TAGGED_LOCALLY = "anchored", "tagged", "tagged locally"
"""The tags of nodes that have what settings do not: an anchor (&name), a tag (!!name), an own tag (!name)."""

_QUOTE = "put the value into quotes"
_HINTS = (
    ("'\\t'", "write spaces instead of tabs"),
    (
        "mapping values are not allowed",
        "a value with ': ' in it needs quotes; or this line or the one above is wrong",
    ),
    ("cannot start any token", _QUOTE),
    ("aliases", _QUOTE),
    ("entries are not allowed", _QUOTE),
    ("keys are not allowed", _QUOTE),
    ("chomping or indentation", _QUOTE),
    ("alphabetic or numeric", _QUOTE),
    ("while scanning a tag", _QUOTE),
    ("tag handle", _QUOTE),
    ("duplicate anchor", _QUOTE),
    ("node content", _QUOTE),
    ("',' or '", f"{_QUOTE} if it begins with [ or {{; or close that bracket"),
    ("escape", "in double quotes, \\ begins an escape: use single quotes, or write \\\\"),
    ("could not find expected ':'", "write `name: value`, with a space after the colon"),
    ("found unexpected end of stream", "a quote was opened and never closed"),
    ("found another document", "remove the line `---`"),
    (
        "found '<scalar>'",
        "put the whole value into quotes of the other kind, or begin the line in the section's column",
    ),
    ("<block end>", "lines of one section must begin in the same column"),
)


def read_text(path: Path) -> str:
    """Return the text of a file of at most MAX_BYTES in UTF-8. Raises InvalidConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _whole_file(str(path), f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise _whole_file(str(path), f"is larger than {MAX_BYTES // 1024} KiB: not a settings file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(error.object[: error.start].decode("utf-8", "replace"))
        wrong = _problem(line, column, "is not UTF-8 text", "save the file with the encoding UTF-8")
        raise InvalidConfigError(str(path), (wrong,)) from None


def compose(text: str, name: str) -> yaml.MappingNode:
    """Return the top mapping of the YAML document in `text`; nodes with an anchor or a tag are marked.

    Raises InvalidConfigError, calling the document `name`.
    """
    try:
        root = _compose(text)
    except yaml.MarkedYAMLError as error:
        raise InvalidConfigError(name, (_syntax_problem(error),)) from None
    except yaml.reader.ReaderError as error:
        line, column = _position(text[: error.position])
        message = f"holds a character that YAML does not allow (U+{error.character:04X})"
        raise InvalidConfigError(name, (_problem(line, column, message),)) from None
    except (ValueError, OverflowError):  # PyYAML does not check the number in an escape
        raise _whole_file(name, "is not valid YAML", "look for \\U or \\x in double quotes") from None
    if root is None or root.tag == _NULL:
        raise _whole_file(name, "is empty", "`edge-agent check-config --defaults` prints a complete one")
    if not isinstance(root, yaml.MappingNode):
        line, column = root.start_mark.line + 1, root.start_mark.column + 1
        raise InvalidConfigError(name, (_problem(line, column, "must consist of lines `name: value`"),))
    return root


class _Loader(yaml.SafeLoader):
    """Composes nodes without aliases: settings do not need them, and a hostile file could use them to
    expand without bound. Nor does it make more nodes than settings can need, which would take memory."""

    _depth = 0
    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if self.check_event(yaml.AliasEvent):
            message = "aliases (*name) are not supported"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=mark)
        if self._depth >= _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="is nested too deeply", problem_mark=mark)
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            message = f"holds more than {_MAX_NODES} names and values"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and event.anchor is not None:
            node.tag = ANCHORED
        elif node is not None and event.tag is not None:
            node.tag = TAGGED if event.tag.startswith("tag:") else TAGGED_LOCALLY
        return node


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    message = f"not valid YAML: {(error.problem or error.context or '').removeprefix('but ')}"
    begun = error.context_mark
    if begun and begun.line + 1 < line:
        message += f", {error.context} begun on line {begun.line + 1}"
    hint = next((hint for sign, hint in _HINTS if sign in message), "")
    # What PyYAML says may quote the file.
    return Problem(line, column, "", message, hint, in_public("", "not valid YAML", hint))


def _position(before: str) -> tuple[int, int]:
    """The line and column, from 1, at which the text `before` ends."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _problem(line: int, column: int, message: str, hint: str = "") -> Problem:
    """A problem whose message quotes nothing of the file."""
    return Problem(line, column, "", message, hint, in_public("", message, hint))


def _whole_file(name: str, message: str, hint: str = "") -> InvalidConfigError:
    return InvalidConfigError(name, (_problem(0, 0, message, hint),))

"""Turns one YAML scalar into the value of a setting, or says what it expected and what it found."""

from __future__ import annotations

import math
import re
import typing
from pathlib import Path
from typing import Any, Literal

import yaml

from edge_agent.config.setting import Setting
from edge_agent.system.secret import Secret
from edge_agent.system.suggest import did_you_mean

_YAML = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = _YAML + "null", _YAML + "bool", _YAML + "int", _YAML + "float"
_PLAIN_TAGS = frozenset(
    _YAML + name
    for name in ("null", "bool", "int", "float", "str", "timestamp", "merge", "value", "seq", "map")
)
_BOOLS = yaml.SafeLoader.bool_values  # yes, no, on, off, true, false

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WITH_UNIT = re.compile(r"([-+]?[0-9]+(?:\.[0-9]+)?) ?[A-Za-z%]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_SHOWN = 40


class BadValueError(Exception):
    """A value does not fit its setting."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def convert(node: yaml.Node, kind: Any, setting: Setting, base: Path) -> Any:
    """Return the value of type `kind` that `node` holds; paths are taken relative to `base`.

    `kind` is bool, int, float, str, a Secret, Path, `Path | None` or a Literal of texts. Raises
    BadValueError.
    """
    if not has_plain_tag(node):
        raise BadValueError("tags such as !!binary are not supported", "remove the tag")
    if typing.get_origin(kind) is Literal:
        return _choice(node, typing.get_args(kind))
    if kind is bool:
        return _boolean(node)
    if kind in (int, float):
        return within(_number(node, kind), setting)
    return _text(node, kind, setting, base)


def has_plain_tag(node: yaml.Node) -> bool:
    """False where the file asks for a type that settings do not have, for instance `!!python/object`."""
    return node.tag in _PLAIN_TAGS


def is_null(node: yaml.Node) -> bool:
    """Whether the value is empty (YAML null)."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def found(node: yaml.Node) -> str:
    """Describe a value of the file in words: `the text 'ten'`."""
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a section"
    if is_null(node):
        return "empty"
    shown = shorten(node.value)
    if node.tag in (_INT, _FLOAT):
        return f"the number {shown}"
    if node.tag == _BOOL:
        meaning = "true" if _BOOLS[node.value.lower()] else "false"
        return shown if shown == meaning else f"{shown}, which YAML reads as {meaning}"
    return f"the text '{shown}'"


def shorten(text: str) -> str:
    """Cut a text from the file, and escape what cannot be printed, so that it fits one line of a message."""
    visible = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:_LONGEST_SHOWN])
    return visible + ("..." if len(text) > _LONGEST_SHOWN else "")


def _choice(node: yaml.Node, choices: tuple[str, ...]) -> str:
    # Take the text as written: YAML 1.1 would read 5 as a number and `on` as true.
    if isinstance(node, yaml.ScalarNode) and node.value in choices:
        return str(node.value)
    word = node.value if isinstance(node, yaml.ScalarNode) else ""
    raise BadValueError(
        f"must be one of {', '.join(choices)}, not {found(node)}", did_you_mean(word, choices)
    )


def _boolean(node: yaml.Node) -> bool:
    if isinstance(node, yaml.ScalarNode) and node.tag == _BOOL:
        return bool(_BOOLS[node.value.lower()])
    word = node.value if isinstance(node, yaml.ScalarNode) else ""
    quoted = isinstance(node, yaml.ScalarNode) and node.style and word.lower() in _BOOLS
    hint = "remove the quotes" if quoted else did_you_mean(word, _BOOLS)
    raise BadValueError(f"must be true or false, not {found(node)}", hint)


def _number(node: yaml.Node, kind: type) -> int | float:
    pattern, name = (_WHOLE, "a whole number") if kind is int else (_DECIMAL, "a number")
    written = node.value if isinstance(node, yaml.ScalarNode) and not node.style else ""
    if pattern.fullmatch(written) and math.isfinite(float(written)):
        return int(written) if kind is int else float(written)
    raise BadValueError(f"must be {name}, not {found(node)}", _number_hint(node, pattern))


def _number_hint(node: yaml.Node, pattern: re.Pattern[str]) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return ""
    if node.style and pattern.fullmatch(node.value):
        return "remove the quotes"
    if (with_unit := _WITH_UNIT.fullmatch(node.value)) and pattern.fullmatch(with_unit[1]):
        return f"write the number alone: {with_unit[1]}"
    if "," in node.value and pattern.fullmatch(node.value.replace(",", ".")):
        return f"write {node.value.replace(',', '.')}"
    return "write a plain decimal number" if node.tag in (_INT, _FLOAT) else ""


def within(number: int | float, setting: Setting) -> int | float:
    """Return `number` if it is in the range of the setting. Raises BadValueError."""
    low, high = setting.at_least, setting.at_most
    if (low is None or number >= low) and (high is None or number <= high):
        return number
    raise BadValueError(f"must be {limits(setting)}, not {number}")


def limits(setting: Setting) -> str:
    """The range of a number: `1 to 65535`, `at least 0`; empty where there is none."""
    low, high = setting.at_least, setting.at_most
    if low is not None and high is not None:
        return f"{_plain(low)} to {_plain(high)}"
    if low is not None:
        return f"at least {_plain(low)}"
    return "" if high is None else f"at most {_plain(high)}"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _text(node: yaml.Node, kind: Any, setting: Setting, base: Path) -> str | Path | None:
    if not isinstance(node, yaml.ScalarNode):
        raise BadValueError(f"must be a text, not {found(node)}")
    # Take the text as written: `0123`, `1.10` and `on` are fine passwords and names.
    text = "" if is_null(node) else str(node.value)
    if _CONTROL.search(text):
        raise BadValueError("must not hold line breaks or control characters")
    if setting.pattern is not None and not re.fullmatch(setting.pattern, text):
        shown = "" if issubclass(kind, Secret) else f", not {found(node)}"
        raise BadValueError(f"must be {setting.pattern_help}{shown}")
    if kind == Path | None:
        return _path(text, setting, base) if text else None
    return _path(text, setting, base) if kind is Path else kind(text)


def _path(text: str, setting: Setting, base: Path) -> Path:
    if not text:
        raise BadValueError("must be set", setting.doc.rstrip("."))
    if text.startswith("~"):
        raise BadValueError("~ is not expanded here", "write the whole path")
    if setting.keeps_bare_name and "/" not in text:
        return Path(text)
    return base / text

"""Turns one YAML scalar into the value of a setting, or says what it expected and what it found."""

from __future__ import annotations

import math
import re
import typing
from pathlib import Path
from typing import Any, Literal

import yaml

from edge_agent.config.characters import doubtful
from edge_agent.config.document import ANCHORED, TAGGED, TAGGED_LOCALLY
from edge_agent.config.setting import Setting
from edge_agent.system.secret import Secret
from edge_agent.system.suggest import did_you_mean
from edge_agent.system.text import printable

_YAML = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = _YAML + "null", _YAML + "bool", _YAML + "int", _YAML + "float"
_BOOLS = yaml.SafeLoader.bool_values  # yes, no, on, off, true, false

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WITH_UNIT = re.compile(r"([-+]?[0-9]+(?:\.[0-9]+)?) ?[A-Za-z%]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HIDDEN_BREAK = re.compile("[\x85\u2028\u2029]")  # which YAML takes for others
_COMMENT_WITHOUT_SPACE = re.compile(r"[ \t]+#+[^\s#]")
_LONGEST_SHOWN = 40
_QUOTE = "put the text into quotes"
_IN_ONE_LINE = f"{_QUOTE}, in one line"
_CONTROL_HINTS = {
    '"': "in double quotes, \\ begins an escape: use single quotes",
    "|": _IN_ONE_LINE,
    ">": _IN_ONE_LINE,
}
"""By how the text is written."""
_EXTRAS = {
    TAGGED: ("tags such as !!binary are not supported", "remove the tag"),
    TAGGED_LOCALLY: ("tags such as !name are not supported", f"{_QUOTE}, or remove the tag"),
    ANCHORED: ("anchors (&name) are not supported", f"{_QUOTE}, or remove the anchor"),
}


class BadValueError(Exception):
    """A value does not fit its setting."""

    def __init__(self, expected: str, hint: str = "", *, found: str = "", correction: str = "") -> None:
        """`expected` and `hint` quote nothing of the file; `found` and `correction` do: they are for its
        owner alone. `correction` takes the place of the hint."""
        super().__init__(expected)
        self.expected = expected
        self.hint = hint
        self._found = found
        self._correction = correction

    @property
    def message(self) -> str:
        """For the owner: what was expected, and what was found."""
        return f"{self.expected}, not {self._found}" if self._found else self.expected

    @property
    def full_hint(self) -> str:
        """For the owner."""
        return self._correction or self.hint


def convert(node: yaml.Node, text: str, kind: Any, setting: Setting, base: Path) -> Any:
    """Return the value of type `kind` that `node`, of the document `text`, holds.

    `kind` is bool, int, float, str, a Secret, Path, `Path | None` or a Literal of texts; paths are taken
    relative to `base`. Raises BadValueError.
    """
    refuse_extras(node)
    if typing.get_origin(kind) is Literal:
        return _choice(node, typing.get_args(kind))
    if kind is bool:
        return _boolean(node)
    if kind in (int, float):
        return within(_number(node, kind), setting)
    return _text(node, text, kind, setting, base)


def refuse_extras(node: yaml.Node) -> None:
    """Raise BadValueError for what settings do not have: a tag such as `!!python/object`, or an anchor."""
    if node.tag in _EXTRAS:
        raise BadValueError(*_EXTRAS[node.tag])


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
    return printable(text[:_LONGEST_SHOWN]) + ("..." if len(text) > _LONGEST_SHOWN else "")


def _choice(node: yaml.Node, choices: tuple[str, ...]) -> str:
    # Take the text as written: YAML 1.1 would read 5 as a number and `on` as true.
    if isinstance(node, yaml.ScalarNode) and node.value in choices:
        return str(node.value)
    word = node.value if isinstance(node, yaml.ScalarNode) else ""
    raise BadValueError(
        f"must be one of {', '.join(choices)}", did_you_mean(word, choices), found=found(node)
    )


def _boolean(node: yaml.Node) -> bool:
    if isinstance(node, yaml.ScalarNode) and node.tag == _BOOL:
        return bool(_BOOLS[node.value.lower()])
    word = node.value if isinstance(node, yaml.ScalarNode) else ""
    quoted = isinstance(node, yaml.ScalarNode) and node.style and word.lower() in _BOOLS
    hint = "remove the quotes" if quoted else did_you_mean(word, _BOOLS)
    raise BadValueError("must be true or false", hint, found=found(node))


def _number(node: yaml.Node, kind: type) -> int | float:
    pattern, name = (_WHOLE, "a whole number") if kind is int else (_DECIMAL, "a number")
    written = node.value if isinstance(node, yaml.ScalarNode) and not node.style else ""
    if pattern.fullmatch(written) and math.isfinite(float(written)):
        return int(written) if kind is int else float(written)
    hint, correction = _number_hints(node, pattern)
    raise BadValueError(f"must be {name}", hint, found=found(node), correction=correction)


def _number_hints(node: yaml.Node, pattern: re.Pattern[str]) -> tuple[str, str]:
    """A hint that quotes nothing, and the correct value, each empty where there is none."""
    if not isinstance(node, yaml.ScalarNode):
        return "", ""
    if node.style and pattern.fullmatch(node.value):
        return "remove the quotes", ""
    if (with_unit := _WITH_UNIT.fullmatch(node.value)) and pattern.fullmatch(with_unit[1]):
        return "write the number alone", f"write the number alone: {with_unit[1]}"
    if "," in node.value and pattern.fullmatch(node.value.replace(",", ".")):
        return "write a point for the comma", f"write {node.value.replace(',', '.')}"
    return ("write a plain decimal number" if node.tag in (_INT, _FLOAT) else ""), ""


def within(number: int | float, setting: Setting) -> int | float:
    """Return `number` if it is in the range of the setting. Raises BadValueError."""
    low, high = setting.at_least, setting.at_most
    if (low is None or number >= low) and (high is None or number <= high):
        return number
    raise BadValueError(f"must be {limits(setting)}", found=str(number))


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


def _text(node: yaml.Node, text: str, kind: Any, setting: Setting, base: Path) -> str | Path | None:
    if not isinstance(node, yaml.ScalarNode):
        hint = _QUOTE if getattr(node, "flow_style", False) else ""
        raise BadValueError("must be a text", hint, found=found(node))
    is_path = kind in (Path, Path | None)
    if is_null(node) and node.value and not is_path:
        raise BadValueError("is empty: YAML reads this word as nothing", f'{_QUOTE}, or write "" for none')
    _refuse_misread(node, text)
    # Take the text as written: `0123`, `1.10` and `on` are fine passwords and names.
    value = "" if is_null(node) else str(node.value)
    if _CONTROL.search(value):
        raise BadValueError(
            "must not hold line breaks or control characters", _CONTROL_HINTS.get(node.style or "", "")
        )
    problem, hint = doubtful(value, is_technical=is_path or setting.pattern is not None)
    if problem:
        raise BadValueError(problem, hint)
    if setting.pattern is not None and not re.fullmatch(setting.pattern, value):
        raise BadValueError(
            f"must be {setting.pattern_help}", found="" if issubclass(kind, Secret) else found(node)
        )
    if is_path and not value and kind != Path:
        return None
    return _path(value, setting, base) if is_path else kind(value)


def _refuse_misread(node: yaml.ScalarNode, text: str) -> None:
    """Refuse a text that YAML reads differently from what its owner sees in the file."""
    if node.style in ("|", ">") and not node.value:
        raise BadValueError(f"is empty: YAML takes {node.style} for the beginning of a longer text", _QUOTE)
    if _HIDDEN_BREAK.search(text, node.start_mark.index, node.end_mark.index):
        raise BadValueError("holds an invisible line break", "type it again by hand, in one line")
    if node.style is not None:
        return
    behind = text[node.end_mark.index :].partition("\n")[0]
    if not node.value and behind.lstrip().startswith("#"):
        raise BadValueError(
            "is empty: YAML takes everything from # on for a comment",
            f'{_QUOTE}; or write "" for none, with the comment behind it',
        )
    if node.value and _COMMENT_WITHOUT_SPACE.match(behind):
        raise BadValueError(
            "ends before the #: YAML takes the rest of the line for a comment",
            f"{_QUOTE}; or write a space behind the # of a comment",
        )
    if node.start_mark.line != node.end_mark.line:
        raise BadValueError("goes on in the next line", f"{_QUOTE}, or indent the next line like this one")


def _path(text: str, setting: Setting, base: Path) -> Path:
    if not text:
        raise BadValueError("must be set", setting.doc.rstrip("."))
    if text.startswith("~"):
        raise BadValueError("~ is not expanded here", "write the whole path")
    if setting.keeps_bare_name and "/" not in text:
        return Path(text)
    return base / text

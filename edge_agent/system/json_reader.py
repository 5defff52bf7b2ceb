"""Reads JSON into dataclasses by their annotations; an error names the value that does not fit."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edge_agent.lean_dataclass import dataclass

T = TypeVar("T")

_LONGEST_VALUE = 60  # in a message, in characters
_SCALARS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    datetime: "a time in ISO 8601",
}


class JsonError(ValueError):
    """The text is not JSON, or a value does not fit its annotation."""


class MismatchError(JsonError):
    """The value at the place `where` does not fit; the message begins with the place."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where or 'the document'} {problem}")
        self.where = where


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value has to be besides its type: `Annotated[int, Rule(is_even, "expected an even number")]`.

    `problem` ends the message for a value of another type, too.
    """

    holds: Callable[[Any], object]
    problem: str


def between(least: int, most: int) -> Rule:
    """The rule for a whole number from `least` to `most`."""
    return Rule(lambda number: least <= number <= most, f"expected a whole number from {least} to {most}")


def at_least(least: int) -> Rule:
    """The rule for a whole number that has no upper end."""
    return Rule(lambda number: number >= least, f"expected a whole number of at least {least}")


def matching(pattern: str, meaning: str) -> Rule:
    """The rule for a text that is `meaning`: all of it matches `pattern`."""
    return Rule(re.compile(pattern).fullmatch, f"expected {meaning}")


def parse(text: str | bytes, complaint: str = "not valid JSON") -> object:
    """Return the JSON document in `text`.

    Raises JsonError, which begins with `complaint`, also for a document that is nested too deeply.
    """
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"{complaint} ({error})") from None
    return document


def read(kind: type[T], value: object, where: str = "") -> T:
    """Return the dataclass `kind` with the values of a JSON object, which is at the place `where`.

    Its fields may be annotated as str, int, float, bool, datetime, a Literal of texts, `X | None`, a tuple, a
    mapping from texts, another dataclass, or one of these with a rule; `object` takes any value. A float may
    be any number that Python's JSON reads, so also NaN and infinity. A field that has a default may be
    missing, and a key that is no field is ignored. Raises MismatchError.
    """
    found: T = _read_dataclass(kind, value, where)
    return found


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _read_by_rule(arguments[0], arguments[1], value, where)
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin is Literal:
        _expect(value in arguments, f"not one of {', '.join(arguments)}", value, where)
        return value
    if origin in (Union, UnionType):
        (present,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _read(present, value, where)
    if origin in (dict, Mapping):
        _expect(isinstance(value, dict), "expected a JSON object", value, where)
        return {key: _read(arguments[1], item, _inside(where, key)) for key, item in value.items()}
    if kind is object:
        return value
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    return _read_scalar(kind, value, where)


def _read_by_rule(kind: Any, rule: Rule, value: Any, where: str) -> Any:
    try:
        found = _read(kind, value, where)
    except MismatchError as error:
        if error.where != where:
            raise
        raise MismatchError(where, f"is {_shown(value)}, {rule.problem}") from None
    _expect(rule.holds(found), rule.problem, value, where)
    return found


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _expect(isinstance(value, list), "expected a list", value, where)
    if kinds[1:] == (...,):
        return tuple(_read(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    _expect(len(value) == len(kinds), f"expected a list of {len(kinds)} values", value, where)
    return tuple(_read(kind, item, where) for kind, item in zip(kinds, value, strict=True))


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), "expected a JSON object", value, where)
    values = {}
    for name, annotation, is_required in _fields(kind):
        if name in value:
            values[name] = _read(annotation, value[name], _inside(where, name))
        elif is_required:
            raise MismatchError(_inside(where, name), "is missing")
    return kind(**values)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """The name and the annotation of each field, and whether it has to be there."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        (field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    )


def _read_scalar(kind: Any, value: Any, where: str) -> Any:
    try:
        if kind is str and isinstance(value, str):
            value.encode()  # JSON can carry half a surrogate pair, which cannot be printed or published
            return value
        if kind is float and type(value) in (int, float):
            return float(value)
        if kind is datetime and isinstance(value, str):
            return datetime.fromisoformat(value)
        if kind in (int, bool) and type(value) is kind:
            return value
    except (ValueError, OverflowError):
        pass
    raise MismatchError(where, f"is {_shown(value)}, expected {_SCALARS[kind]}")


def _expect(holds: object, problem: str, value: Any, where: str) -> None:
    if not holds:
        raise MismatchError(where, f"is {_shown(value)}, {problem}")


def _inside(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _shown(value: object) -> str:
    """`value` for a message; reprlib, since it can be nested deeper than repr can go."""
    text = reprlib.repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."

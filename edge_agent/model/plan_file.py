"""The plan file: JSON, with one tensor and one operation to a line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, get_args

from edge_agent.model.plan import (
    TYPE_NAMES,
    ActivationKind,
    ArithmeticKind,
    Bounds,
    Operation,
    Plan,
    PlanError,
    PoolKind,
    Precision,
    Tensor,
    require,
)
from edge_agent.model.plan_check import MAX_TENSORS, check_plan

PLAN_FORMAT = "edge-agent-plan"
PLAN_VERSION = 1
MAX_PLAN_BYTES = 4 << 20

_TYPES = {name: kind for kind, name in TYPE_NAMES.items()}


def encode_plan(plan: Plan) -> bytes:
    """Return the contents of a plan file. Raises PlanError for a plan that `decode_plan` would refuse."""
    check_plan(plan)
    head = {
        "format": PLAN_FORMAT,
        "version": PLAN_VERSION,
        "precision": plan.precision,
        "weights_bytes": plan.weights_bytes,
        "input": plan.input,
        "output": plan.output,
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines.append(_block("tensors", [_encode(tensor) for tensor in plan.tensors]))
    lines.append(_block("operations", [_encode_operation(operation) for operation in plan.operations]))
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _block(key: str, rows: list[dict[str, Any]]) -> str:
    return f'"{key}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]"


def _encode_operation(operation: Operation) -> dict[str, Any]:
    return {"op": TYPE_NAMES[type(operation)], **_encode(operation)}


def _encode(item: Tensor | Operation) -> dict[str, Any]:
    encoded = {field.name: getattr(item, field.name) for field in fields(item)}
    if "bounds" in encoded:
        encoded["bounds"] = [bound if math.isfinite(bound) else None for bound in encoded["bounds"]]
    return encoded


def decode_plan(data: bytes) -> Plan:
    """Return the verified plan in the contents of a plan file. Raises PlanError, whatever the bytes are."""
    require(len(data) <= MAX_PLAN_BYTES, f"it is larger than {MAX_PLAN_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"it is not JSON ({error})") from None
    plan = _decode_document(document)
    check_plan(plan)
    return plan


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _decode_document(document: object) -> Plan:
    head = _object(document, "the plan")
    require(head.get("format") == PLAN_FORMAT, "it is not a plan")
    version = head.get("version")
    require(
        version == PLAN_VERSION,
        f"it is of version {_shown(version)}, this program reads version {PLAN_VERSION};"
        " build the model again",
    )
    _require_keys(head, {"format", "version", *(field.name for field in fields(Plan))}, "the plan")
    return Plan(
        precision=_choice(Precision)(head["precision"], "precision"),
        weights_bytes=_integer(head["weights_bytes"], "weights_bytes"),
        input=_integer(head["input"], "input"),
        output=_integer(head["output"], "output"),
        tensors=tuple(_decode(Tensor, row, where) for where, row in _rows(head["tensors"], "tensor")),
        operations=tuple(
            _decode_operation(row, where) for where, row in _rows(head["operations"], "operation")
        ),
    )


def _decode_operation(row: dict[str, Any], where: str) -> Operation:
    name = row.pop("op", None)
    require(isinstance(name, str) and name in _TYPES, f"{where} is of the unknown type {_shown(name)}")
    operation: Operation = _decode(_TYPES[name], row, where)
    return operation


def _decode(kind: type[Any], row: dict[str, Any], where: str) -> Any:
    _require_keys(row, {field.name for field in fields(kind)}, where)
    # With postponed evaluation a field's type is its annotation's text, which names the decoder.
    values = {
        field.name: _DECODERS[str(field.type)](row[field.name], f"{where}: {field.name}")
        for field in fields(kind)
    }
    return kind(**values)


def _rows(value: object, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    require(isinstance(value, list), f"{what}s are not a list")
    assert isinstance(value, list)
    require(len(value) <= MAX_TENSORS, f"there are more than {MAX_TENSORS} {what}s")
    for index, row in enumerate(value):
        yield f"{what} {index}", _object(row, f"{what} {index}")


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PlanError(f"{where} is not an object")
    return value


def _require_keys(row: dict[str, Any], expected: set[str], where: str) -> None:
    missing, unknown = expected - row.keys(), row.keys() - expected
    require(not missing, f"{where} lacks {', '.join(sorted(missing))}")
    require(not unknown, f"{where} has the unknown key {', '.join(sorted(unknown))}")


def _shown(value: object) -> str:
    """A value for a message; a container only by its type, since it can be nested deeper than repr can go."""
    return f"{value!r:.40}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _integer(value: object, where: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise PlanError(f"{where} is {_shown(value)}, not a whole number from 0 on")
    return value


def _integers(least: int, most: int) -> Callable[[object, str], tuple[int, ...]]:
    def decode(value: object, where: str) -> tuple[int, ...]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise PlanError(
                f"{where} is not a list of {least if least == most else f'{least} to {most}'} numbers"
            )
        return tuple(_integer(item, where) for item in value)

    return decode


def _optional_integer(value: object, where: str) -> int | None:
    return None if value is None else _integer(value, where)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > 500:
        raise PlanError(f"{where} is not a text of at most 500 characters")
    return value


def _bounds(value: object, where: str) -> Bounds:
    if not isinstance(value, list) or len(value) != 2:
        raise PlanError(f"{where} are not a list of two numbers")
    low, high = (_bound(item, where) for item in value)
    return Bounds(-math.inf if low is None else low, math.inf if high is None else high)


def _bound(value: object, where: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not abs(value) <= 3e38:  # type: ignore[arg-type]
        raise PlanError(f"{where} hold {_shown(value)}, not a number that a float32 can hold, or null")
    return float(value)  # type: ignore[arg-type]


def _choice(kind: Any) -> Callable[[object, str], Any]:
    choices = get_args(kind)

    def decode(value: object, where: str) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise PlanError(f"{where} is {_shown(value)}, not one of {', '.join(choices)}")
        return value

    return decode


_DECODERS: dict[str, Callable[[object, str], Any]] = {
    "str": _text,
    "int": _integer,
    "int | None": _optional_integer,
    "Pair": _integers(2, 2),
    "Sides": _integers(4, 4),
    "Shape": _integers(1, 4),
    "Ids": _integers(1, 1000),
    "Bounds": _bounds,
    "PoolKind": _choice(PoolKind),
    "ArithmeticKind": _choice(ArithmeticKind),
    "ActivationKind": _choice(ActivationKind),
}

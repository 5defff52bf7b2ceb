"""The plan file: JSON, with one tensor and one operation to a line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Annotated, Any

from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import TYPE_NAMES, Bounds, Operation, Plan, PlanError, Tensor, require
from edge_agent.model.plan_check import MAX_TENSORS, check_plan
from edge_agent.system.json_reader import JsonError, Rule, parse, read

PLAN_FORMAT = "edge-agent-plan"
PLAN_VERSION = 1
MAX_PLAN_BYTES = 4 << 20

Float32 = Annotated[
    float, Rule(lambda number: abs(number) <= 3e38, "not a number that a float32 can hold, or null")
]

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
    """Return the verified plan in the contents of a plan file. Raises PlanError for any other bytes."""
    require(len(data) <= MAX_PLAN_BYTES, f"it is larger than {MAX_PLAN_BYTES} bytes")
    try:
        plan = _decode_document(parse(data, "it is not JSON"))
    except JsonError as error:
        raise PlanError(str(error)) from None
    check_plan(plan)
    return plan


def _decode_document(document: object) -> Plan:
    head = read(_Head, document)
    require(head.format == PLAN_FORMAT, "it is not a plan")
    require(
        head.version == PLAN_VERSION,
        f"it is of version {head.version}, this program reads version {PLAN_VERSION}; build the model again",
    )
    assert isinstance(document, dict)
    _require_keys(document, {"format", "version", *_names(Plan)}, "the plan")
    tensors = tuple(_decode(Tensor, row, where) for row, where in _rows(document, "tensors"))
    operations = tuple(_decode_operation(row, where) for row, where in _rows(document, "operations"))
    plan = read(Plan, document | {"tensors": [], "operations": []})
    return replace(plan, tensors=tensors, operations=operations)


@dataclass(frozen=True, slots=True)
class _Head:
    format: str
    version: int


def _rows(document: dict[str, Any], key: str) -> Iterator[tuple[dict[str, Any], str]]:
    rows = document[key]
    require(isinstance(rows, list), f"{key} are not a list")
    require(len(rows) <= MAX_TENSORS, f"there are more than {MAX_TENSORS} {key}")
    for index, row in enumerate(rows):
        require(isinstance(row, dict), f"{key}[{index}] is not an object")
        yield row, f"{key}[{index}]"


def _decode_operation(row: dict[str, Any], where: str) -> Operation:
    name = row.pop("op", None)
    require(isinstance(name, str) and name in _TYPES, f"{where} is of the unknown type {name!r:.40}")
    operation: Operation = _decode(_TYPES[name], row, where)
    return operation


def _decode(kind: type[Any], row: dict[str, Any], where: str) -> Any:
    _require_keys(row, _names(kind), where)
    if "bounds" not in row:
        return read(kind, row, where)
    low, high = read(_Clamp, row, where).bounds
    bounds = Bounds(-math.inf if low is None else low, math.inf if high is None else high)
    del row["bounds"]
    return replace(read(kind, row, where), bounds=bounds)


@dataclass(frozen=True, slots=True)
class _Clamp:
    bounds: tuple[Float32 | None, Float32 | None]
    """null stands for no bound: JSON has no infinity."""


def _names(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


def _require_keys(row: dict[str, Any], expected: set[str], where: str) -> None:
    missing, unknown = expected - row.keys(), row.keys() - expected
    require(not missing, f"{where} lacks {', '.join(sorted(missing))}")
    require(not unknown, f"{where} has the unknown key {', '.join(sorted(unknown))}")

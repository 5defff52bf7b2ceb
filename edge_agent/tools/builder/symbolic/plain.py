"""Operations on plain values: numbers, texts, lists and dictionaries, as TorchScript defines them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent.system.text import printable
from edge_agent.tools.builder.lowering.plan_builder import LoweringError
from edge_agent.tools.builder.symbolic.budget import Budget

_LARGEST = 1 << 63
_LONGEST_TEXT = 10_000
_SCALARS = (bool, int, float, str, type(None))
_NUMBERS = (bool, int, float)


def works_on_containers(kind: str) -> bool:
    """Whether an operation takes a list, a dictionary or a text as its first operand."""
    return kind in _ON_CONTAINERS


def calculate(budget: Budget, kind: str, arguments: Sequence[Any]) -> object:
    """Return what the operation `kind` makes of plain values. Raises LoweringError."""
    if kind in _ON_CONTAINERS:
        return _ON_CONTAINERS[kind](budget, *arguments)
    if kind in _CASTS and len(arguments) == 1 and isinstance(arguments[0], str):
        return checked(_CASTS[kind](arguments[0]))
    if kind not in _ON_NUMBERS:
        raise LoweringError("this operation is not known")
    return _of_numbers(_ON_NUMBERS[kind], *arguments)


def checked(value: object) -> object:
    """Return a value that a 64-bit integer or a short text can hold. Raises LoweringError for others."""
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise LoweringError("its result is beyond 64 bits")
    if isinstance(value, complex) or (isinstance(value, str) and len(value) > _LONGEST_TEXT):
        raise LoweringError("its result is not a number or a short text")
    return value


def _add(budget: Budget, left: Any, right: Any, alpha: Any = 1) -> object:
    if isinstance(left, list) and isinstance(right, list):
        budget.steps(len(left) + len(right))
        return left + right
    if isinstance(left, str) and isinstance(right, str):
        budget.steps(len(left) + len(right))
        return checked(left + right)
    return _of_numbers(operator.add, left, _of_numbers(operator.mul, right, alpha))


def _mul(budget: Budget, left: Any, right: Any) -> object:
    if isinstance(left, list | str) and isinstance(right, int):
        budget.steps(len(left) * max(right, 0))
        return checked(left * right)
    return _of_numbers(operator.mul, left, right)


def _of_numbers(function: Callable[..., object], *numbers: object) -> object:
    if not all(isinstance(number, _NUMBERS) for number in numbers):
        raise LoweringError("it is not known on these values")
    return checked(function(*numbers))


def _round(value: float) -> int:
    return round(value)


def _sub(left: Any, right: Any, alpha: Any = 1) -> Any:
    return left - right * alpha


def _equal(budget: Budget, left: Any, right: Any) -> bool:
    for each in (left, right):
        if isinstance(each, list | tuple):
            budget.steps(len(each))
            if not all(isinstance(item, _SCALARS) for item in each):
                raise LoweringError("only lists of plain values can be compared")
        elif not isinstance(each, _SCALARS):
            raise LoweringError("only plain values can be compared")
    return bool(left == right)


def _is(_: Budget, left: object, right: object) -> bool:
    return left is right


def _is_not(_: Budget, left: object, right: object) -> bool:
    return left is not right


def _unwrap(_: Budget, value: object) -> object:
    if value is None:
        raise LoweringError("the model's own code unwraps what is None")
    return value


def _contains(budget: Budget, container: Any, item: Any) -> bool:
    if isinstance(container, dict):
        return item in container
    budget.steps(len(container))
    return any(_equal(budget, each, item) for each in container)


def _shift_left(value: int, by: int) -> int:
    if not 0 <= by < 64:
        raise LoweringError("it shifts by more than 63 bits")
    return value << by


def _power(base: Any, exponent: Any) -> object:
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1 and exponent > 63:
        raise LoweringError("its result is beyond 64 bits")
    return base**exponent


def _format(_: Budget, template: str, *values: object) -> str:
    """A text for a message: short, whatever it is made of."""
    text = printable(template, 500)
    for value in values:
        shown = printable(str(value), 50) if isinstance(value, _SCALARS) else "..."
        text = text.replace("{}", shown, 1)
    return text


def _raise(_: Budget, message: object = "", *_rest: object) -> object:
    raise LoweringError(f"the model's own code refuses: {printable(str(message), 300)}")


def _slice(
    budget: Budget, items: Any, start: int | None = None, end: int | None = None, step: int = 1
) -> object:
    chosen = items[start:end:step]
    budget.steps(len(chosen))
    return chosen


def _listed(budget: Budget, items: Any = ()) -> list[object]:
    budget.steps(len(items))
    return list(items)


def _constructed(budget: Budget, *items: object) -> list[object]:
    return _listed(budget, items)


def _with_default(budget: Budget, items: list[Any], default: list[Any]) -> list[object]:
    budget.steps(len(items))
    return [
        other if item is None else item for item, other in zip(items, default[-len(items) :], strict=True)
    ]


def _append(budget: Budget, items: list[object], item: object) -> list[object]:
    budget.steps()
    items.append(item)
    return items


def _extend(budget: Budget, items: list[object], more: Sequence[object]) -> list[object]:
    budget.steps(len(more))
    items.extend(list(more))
    return items


def _insert(budget: Budget, items: list[object], index: int, item: object) -> None:
    budget.steps(len(items))
    items.insert(index, item)


def _set_item(_: Budget, items: Any, index: Any, item: object) -> object:
    items[index] = item
    return items


def _get_item(_: Budget, items: Any, index: Any) -> object:
    return items[index]


def _all(function: Callable[..., object]) -> Callable[..., object]:
    """`function` of one list of plain values, or of some plain values."""

    def handler(budget: Budget, *values: Any) -> object:
        items = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        budget.steps(len(items))
        if not all(isinstance(item, _SCALARS) for item in items):
            raise LoweringError("it is not known on these values")
        return checked(function(items))

    return handler


def _range_length(low: int, high: int, step: int) -> int:
    return len(range(low, high, step))


_ON_CONTAINERS: dict[str, Callable[..., object]] = {
    "aten::__contains__": _contains,
    "aten::__getitem__": _get_item,
    "aten::__is__": _is,
    "aten::__isnot__": _is_not,
    "aten::_set_item": _set_item,
    "aten::_unwrap_optional": _unwrap,
    "aten::add": _add,
    "aten::add_": _extend,
    "aten::all": _all(all),
    "aten::any": _all(any),
    "aten::append": _append,
    "aten::device": lambda _, *_arguments: "cpu",
    "aten::clear": lambda _, items: items.clear(),
    "aten::copy": _listed,
    "aten::dict": lambda _, *items: dict(*items),
    "aten::eq": _equal,
    "aten::extend": _extend,
    "aten::format": _format,
    "aten::get": lambda _, items, key, default=None: items.get(key, default),
    "aten::insert": _insert,
    "aten::items": lambda budget, items: _listed(budget, items.items()),
    "aten::keys": lambda budget, items: _listed(budget, items.keys()),
    "aten::len": lambda _, items: len(items),
    "aten::list": _listed,
    "aten::list_with_default": _with_default,
    "aten::max": _all(max),
    "aten::min": _all(min),
    "aten::mul": _mul,
    "aten::ne": lambda budget, left, right: not _equal(budget, left, right),
    "aten::pop": lambda _, items, index=-1: items.pop(index),
    "aten::reverse": lambda _, items: items.reverse(),
    "aten::select": lambda _, items, _axis, index: items[index],
    "aten::slice": _slice,
    "aten::str": lambda budget, value: _format(budget, "{}", value),
    "aten::sum": _all(sum),
    "aten::values": lambda budget, items: _listed(budget, items.values()),
    "aten::warn": lambda _, *_message: None,
    "prim::ListConstruct": _constructed,
    "prim::Print": lambda _, *_values: None,
    "prim::RaiseException": _raise,
    "prim::TupleConstruct": lambda _, *items: items,
    "prim::max": _all(max),
    "prim::min": _all(min),
}

_ON_NUMBERS: dict[str, Callable[..., object]] = {
    "aten::Bool": bool,
    "aten::Float": float,
    "aten::FloatImplicit": float,
    "aten::Int": int,
    "aten::IntImplicit": int,
    "aten::ScalarImplicit": lambda value: value,
    "aten::__and__": operator.and_,
    "aten::__derive_index": lambda index, start, step: start + index * step,
    "aten::__lshift__": _shift_left,
    "aten::__not__": operator.not_,
    "aten::__or__": operator.or_,
    "aten::__range_length": _range_length,
    "aten::__rshift__": operator.rshift,
    "aten::__xor__": operator.xor,
    "aten::abs": abs,
    "aten::ceil": math.ceil,
    "aten::div": operator.truediv,
    "aten::floor": math.floor,
    "aten::floor_divide": operator.floordiv,
    "aten::floordiv": operator.floordiv,
    "aten::ge": operator.ge,
    "aten::gt": operator.gt,
    "aten::is_autocast_enabled": lambda: False,
    "aten::is_grad_enabled": lambda: False,
    "aten::is_scripting": lambda: True,
    "aten::item": lambda value: value,
    "aten::le": operator.le,
    "aten::log": math.log,
    "aten::lt": operator.lt,
    "aten::neg": operator.neg,
    "aten::pow": _power,
    "aten::remainder": operator.mod,
    "aten::round": _round,
    "aten::sqrt": math.sqrt,
    "aten::sub": _sub,
    "prim::NumToTensor": lambda value: value,
    "prim::abs": abs,
}

_CASTS: dict[str, Callable[[str], object]] = {"aten::Float": float, "aten::Int": int}

"""A `dataclass` that takes less than half the memory: what can be one function for all classes is.

That of the standard library compiles functions for each class, and of a frozen class with slots it keeps two.
The agent has close to two hundred.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None,
        /,
        *,
        frozen: bool = False,
        eq: bool = True,
        repr: bool = True,
        order: bool = False,
        **options: Any,
    ) -> Any:
        """As `dataclasses.dataclass`, with its arguments; what inherits from a frozen class is frozen."""

        def made(given: type) -> type:
            own = vars(given).keys()
            shared: dict[str, Any] = {}
            if frozen:
                shared |= {"__setattr__": _refuse, "__delattr__": _refuse}
            if repr and "__repr__" not in own:
                shared["__repr__"] = _described
            if eq and not order and "__eq__" not in own:
                shared["__eq__"] = _is_equal
                if "__hash__" not in own:
                    shared["__hash__"] = _hash if frozen else None
            result = dataclasses.dataclass(given, frozen=frozen, eq=order, repr=False, order=order, **options)
            for name, value in shared.items():
                setattr(result, name, value)
            return result

        return made if cls is None else made(cls)


def _refuse(self: object, name: str, _value: object = None) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"{type(self).__name__}.{name} cannot be changed")


def _described(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _is_equal(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _compared(record: Any) -> tuple[Any, ...]:
    return tuple(getattr(record, each.name) for each in dataclasses.fields(record) if each.compare)

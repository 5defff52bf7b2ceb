"""A pickle machine of its own: it makes plain values, and of everything else only what it is told to.

Python's unpickler imports and calls what a file names, and takes memory at a file's word. This one knows the
instructions that PyTorch's files are written with, counts them, and asks its caller about each name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

_MOST_INSTRUCTIONS = 2_000_000
_LONGEST_INTEGER_BYTES = 64
_DEEPEST_KEY = 4
_MARK = object()

FindName = Callable[[str, str], Callable[..., object]]
"""Returns what to call for a name in a module; it never has an effect of its own."""


class PickleError(Exception):
    """Not a pickle that can be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a pickle holds."""

    value: object
    end: int
    """Where the pickle ends: the place of the first byte behind it."""


@dataclass(frozen=True, slots=True)
class Makers:
    """What a pickle machine asks about all that is not a plain value."""

    find: FindName
    persistent: Callable[[object], object]
    """Returns what a persistent id stands for."""
    build: Callable[[object, object], None]
    """Gives an object its state."""


def unpickle(data: memoryview, makers: Makers, begin: int = 0) -> Made:
    """Read the pickle at `begin` in `data`.

    Raises PickleError, and whatever the makers and what they return raise.
    """
    machine = _Machine(data, begin, makers)
    try:
        return Made(machine.run(), machine.place)
    except (IndexError, struct.error) as error:
        raise PickleError("it ends too early") from error


@dataclass(slots=True)
class _Machine:
    data: memoryview
    place: int
    makers: Makers
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)

    def run(self) -> object:
        for _ in range(_MOST_INSTRUCTIONS):
            code = self.data[self.place]
            self.place += 1
            if code == _STOP:
                return self.pop()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise PickleError(f"it has an instruction that PyTorch does not write, 0x{code:02x}")
            instruction(self)
        raise PickleError("it does not come to an end")

    # reading

    def take(self, count: int) -> memoryview:
        if count < 0 or self.place + count > len(self.data):
            raise PickleError("it ends too early")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, layout: struct.Struct) -> Any:
        return layout.unpack(self.take(layout.size))[0]

    def line(self) -> str:
        rest = bytes(self.data[self.place : self.place + 1000])
        end = rest.find(b"\n")
        if end < 0:
            raise PickleError("it holds a name without an end")
        self.place += end + 1
        return rest[:end].decode("utf-8", "backslashreplace")

    def text(self, layout: struct.Struct) -> str:
        return bytes(self.take(self.number(layout))).decode("utf-8", "backslashreplace")

    # the stack

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.top()
        del self.stack[-1]
        return value

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleError("its stack is empty")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise PickleError("it lacks a mark")

    def several(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    # containers and objects

    def put_items(self, items: list[Any]) -> None:
        """Pairs of key and value into the dict on the stack; what is not kept takes them without a trace."""
        if len(items) % 2:
            raise PickleError("it has a key without a value")
        target = self.top()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _check_key(key)
            if isinstance(target, dict):
                target[key] = value

    def append_items(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            for item in items:
                _check_key(item)
                target.add(item)

    def call(self, function: object, arguments: object) -> None:
        if not callable(function) or not isinstance(arguments, tuple):
            raise PickleError("it calls what cannot be called")
        self.push(function(*arguments))

    def build(self) -> None:
        state = self.pop()
        self.makers.build(self.top(), state)

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise PickleError("it refers to what it has not made")
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def integer(self, count: int) -> None:
        if count > _LONGEST_INTEGER_BYTES:
            raise PickleError("it holds an integer of more digits than anything has")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def global_(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it names something by what is no name")
        self.push(self.makers.find(module, name))


def _check_key(key: object, depth: int = _DEEPEST_KEY) -> None:
    """Raise PickleError for a key that could take long to hash, or cannot be."""
    if isinstance(key, tuple) and depth and len(key) <= 100:
        for part in key:
            _check_key(part, depth - 1)
    elif isinstance(key, tuple) or not isinstance(key, Hashable):
        raise PickleError("it has a container as a key")


_U1, _U2, _U4, _U8 = (struct.Struct(f"<{code}") for code in "BHIQ")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")
_STOP = ord(".")

_Instruction = Callable[[_Machine], object]


def _reduce(machine: _Machine) -> None:
    function, arguments = machine.several(2)
    machine.call(function, arguments)


def _new_with_names(machine: _Machine) -> None:
    function, arguments, _named = machine.several(3)
    machine.call(function, arguments)


def _long4(machine: _Machine) -> None:
    machine.integer(machine.number(_I4))


def _stack_global(machine: _Machine) -> None:
    machine.global_(*machine.several(2))


def _set_item(machine: _Machine) -> None:
    machine.put_items(machine.several(2))


def _dict(machine: _Machine) -> None:
    pairs = machine.since_mark()
    machine.push({})
    machine.put_items(pairs)


def _frozen(machine: _Machine) -> None:
    items = machine.since_mark()
    for item in items:
        _check_key(item)
    machine.push(frozenset(items))


def _text_of(layout: struct.Struct) -> _Instruction:
    return lambda machine: machine.push(machine.text(layout))


def _bytes_of(layout: struct.Struct) -> _Instruction:
    return lambda machine: machine.push(bytes(machine.take(machine.number(layout))))


def _number_of(layout: struct.Struct) -> _Instruction:
    return lambda machine: machine.push(machine.number(layout))


def _value(value: object) -> _Instruction:
    return lambda machine: machine.push(value)


def _tuple_of(count: int) -> _Instruction:
    return lambda machine: machine.push(tuple(machine.several(count)))


_BY_SIGN: dict[str, _Instruction] = {
    "\x80": lambda machine: machine.take(1),  # the protocol's number
    "\x95": lambda machine: machine.take(8),  # a frame's length
    "N": _value(None),
    "\x88": _value(True),
    "\x89": _value(False),
    "K": _number_of(_U1),
    "M": _number_of(_U2),
    "J": _number_of(_I4),
    "G": _number_of(_F8),
    "\x8a": lambda machine: machine.integer(machine.number(_U1)),
    "\x8b": _long4,
    "X": _text_of(_U4),
    "\x8c": _text_of(_U1),
    "\x8d": _text_of(_U8),
    "U": _text_of(_U1),  # bytes of Python 2, which were its texts
    "T": _text_of(_I4),
    "C": _bytes_of(_U1),
    "B": _bytes_of(_U4),
    "\x8e": _bytes_of(_U8),
    "\x96": _bytes_of(_U8),
    "(": _value(_MARK),
    "0": lambda machine: machine.pop(),
    "1": lambda machine: machine.since_mark(),
    "2": lambda machine: machine.push(machine.top()),
    ")": _value(()),
    "t": lambda machine: machine.push(tuple(machine.since_mark())),
    "\x85": _tuple_of(1),
    "\x86": _tuple_of(2),
    "\x87": _tuple_of(3),
    "]": lambda machine: machine.push([]),
    "l": lambda machine: machine.push(machine.since_mark()),
    "a": lambda machine: machine.append_items(machine.several(1)),
    "e": lambda machine: machine.append_items(machine.since_mark()),
    "\x8f": lambda machine: machine.push(set()),
    "\x90": lambda machine: machine.append_items(machine.since_mark()),
    "\x91": _frozen,
    "}": lambda machine: machine.push({}),
    "d": _dict,
    "s": _set_item,
    "u": lambda machine: machine.put_items(machine.since_mark()),
    "c": lambda machine: machine.global_(machine.line(), machine.line()),
    "\x93": _stack_global,
    "R": _reduce,
    "\x81": _reduce,
    "\x92": _new_with_names,
    "b": lambda machine: machine.build(),
    "Q": lambda machine: machine.push(machine.makers.persistent(machine.pop())),
    "h": lambda machine: machine.get(machine.number(_U1)),
    "j": lambda machine: machine.get(machine.number(_U4)),
    "q": lambda machine: machine.put(machine.number(_U1)),
    "r": lambda machine: machine.put(machine.number(_U4)),
    "\x94": lambda machine: machine.put(len(machine.memo)),
}
_INSTRUCTIONS = {ord(sign): instruction for sign, instruction in _BY_SIGN.items()}

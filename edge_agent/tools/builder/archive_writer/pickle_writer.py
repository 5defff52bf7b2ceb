"""Writes the pickle that torch reads a module from, which pickle itself could only do with torch's classes.

The protocol is 2. Objects are not shared, so nothing is remembered for later use.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_BEGIN, _END = b"\x80\x02", b"."
_TRUE, _FALSE = b"\x88", b"\x89"
_EMPTY_DICT, _SET_ITEMS = b"}", b"u"
_EMPTY_TUPLE, _MARK, _TUPLE = b")", b"(", b"t"
_NEW_OBJECT, _BUILD = b"\x81", b"b"
_CALL, _PERSISTENT = b"R", b"Q"

EMPTY_TUPLE = _BEGIN + _EMPTY_TUPLE + _END
"""A whole pickle."""


def pickle_module(class_name: str, attributes: Mapping[str, bytes]) -> bytes:
    """Return the pickle of an instance of `class_name`, a class of the archive's own code.

    `attributes`: their values by name, as `boolean` and `tensor` return them.
    """
    module, _, name = class_name.rpartition(".")
    items = b"".join(_text(key) + value for key, value in attributes.items())
    state = _EMPTY_DICT + _MARK + items + _SET_ITEMS
    return _BEGIN + _global(module, name) + _EMPTY_TUPLE + _NEW_OBJECT + state + _BUILD + _END


def boolean(value: bool) -> bytes:
    return _TRUE if value else _FALSE


def tensor(
    entry: str, storage: str, shape: tuple[int, ...], strides: tuple[int, ...], elements: int
) -> bytes:
    """Return a tensor whose values are in an entry of their own, `data/<entry>`.

    `storage`: the class of torch that says their type, for instance `FloatStorage`; `strides`: in elements.
    """
    stored = _tuple(
        _text("storage"), _global("torch", storage), _text(entry), _text("cpu"), _integer(elements)
    )
    no_hooks = _global("collections", "OrderedDict") + _EMPTY_TUPLE + _CALL
    arguments = _tuple(
        stored + _PERSISTENT, _integer(0), _integers(shape), _integers(strides), boolean(False), no_hooks
    )
    return _global("torch._utils", "_rebuild_tensor_v2") + arguments + _CALL


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _integers(values: tuple[int, ...]) -> bytes:
    return _tuple(*map(_integer, values))


def _tuple(*items: bytes) -> bytes:
    return _MARK + b"".join(items) + _TUPLE


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()

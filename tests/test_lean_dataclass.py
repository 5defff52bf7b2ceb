"""The lean dataclass does what the standard library's does, and takes less memory."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_agent
from edge_agent.lean_dataclass import dataclass

ROOMS = Path(edge_agent.__file__).parent
NOT_OF_THE_AGENT = {"tools", "commands"}
OPTIONS: list[dict[str, bool]] = [
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "eq": False},
    {"frozen": True, "slots": True, "order": True},
    {"frozen": True},
    {"slots": True},
    {"slots": True, "repr": False},
    {},
]

Decorator = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: float = 0.5
    name: str = dataclasses.field(default="", compare=False)
    secret: str = dataclasses.field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Named(Point):
    label: str = "gate"

    def __repr__(self) -> str:
        return "one of its own"


def made_by(decorator: Decorator, options: dict[str, bool]) -> Any:
    """The same class by either decorator."""

    class Sample:
        x: int
        y: tuple[int, ...] = ()
        unseen: str = dataclasses.field(default="", repr=False, compare=False)

        __annotations__ = {"x": "int", "y": "tuple[int, ...]", "unseen": "str"}

    return decorator(**options)(Sample)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
@given(one=st.tuples(st.integers(0, 1), st.sampled_from([(), (1,)])), other=st.integers(0, 1))
def test_objects_compare_hash_and_show_as_the_standard_librarys(
    options: dict[str, bool], one: tuple[int, tuple[int, ...]], other: int
) -> None:
    seen = []
    for decorator in (dataclass, dataclasses.dataclass):
        kind = made_by(decorator, options)
        first, second = kind(*one, unseen="a"), kind(other, unseen="b")
        shown = repr(first) if options.get("repr", True) else ""
        less = first < second if options.get("order") else None
        has_hash = kind.__hash__ is not None
        same_hash = has_hash and options.get("eq", True) and hash(first) == hash(second)
        seen.append((first == second, first == first, first == one, has_hash, same_hash, shown, less))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("change", [lambda p: setattr(p, "x", 2), lambda p: delattr(p, "x")])
def test_a_frozen_object_cannot_be_changed(change: Callable[[Point], None]) -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"Point\.x cannot be changed"):
        change(point)
    assert point.x == 1


def test_objects_are_copied_pickled_replaced_taken_apart_and_matched() -> None:
    point = Point(1, 2.0, "p", "s")
    assert copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point
    assert dataclasses.replace(point, x=3) == Point(3, 2.0, "p", "s")
    assert dataclasses.asdict(point) == {"x": 1, "y": 2.0, "name": "p", "secret": "s"}
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2.0)


def test_what_a_class_says_itself_stays() -> None:
    assert repr(Named(1)) == "one of its own"
    assert repr(Point(1, secret="s")) == "Point(x=1, y=0.5, name='')"
    assert Named(1) != Point(1)


def test_a_class_takes_less_than_half_the_memory() -> None:
    taken = [_bytes_of_classes(decorator) for decorator in (dataclass, dataclasses.dataclass)]
    assert taken[0] < 0.5 * taken[1]


def test_every_room_of_the_agent_has_it() -> None:
    files = [path for path in ROOMS.rglob("*.py") if path.relative_to(ROOMS).parts[0] not in NOT_OF_THE_AGENT]
    assert len(files) > 100
    other = re.compile(r"^from dataclasses import .*\bdataclass\b|\bdataclasses\.dataclass\(", re.MULTILINE)
    found = {path.name for path in files if other.search(path.read_text())}
    assert found == {"lean_dataclass.py", "overlay.py"}  # the latter runs without the package around it


def _bytes_of_classes(decorator: Decorator) -> int:
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        kept = [made_by(decorator, {"frozen": True, "slots": True}) for _ in range(20)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) // len(kept)
    finally:
        tracemalloc.stop()

"""The JSON reader: what fits the annotations is read, and anything else is refused with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.system.json_reader import JsonError, Rule, at_least, between, matching, parse, read


@dataclass(frozen=True)
class Wheel:
    radius_mm: Annotated[float, Rule(lambda number: number > 0, "expected a number above 0")]
    spokes: Annotated[int, between(0, 64)] = 0


@dataclass(frozen=True)
class Vehicle:
    name: Annotated[str, matching("[a-z]+", "small letters")]
    kind: Literal["cart", "car"]
    built: datetime
    electric: bool
    wheels: tuple[Wheel, ...]
    size_m: Annotated[tuple[float, float], Rule(len, "expected two numbers")]
    owners: Mapping[str, str]
    seats: Annotated[int, at_least(1)] | None = None


_JSON: dict[str, Any] = {
    "name": "ox",
    "kind": "cart",
    "built": "2026-01-02T03:04:05+00:00",
    "electric": False,
    "wheels": [{"radius_mm": 300, "spokes": 12}, {"radius_mm": 2.5}],
    "size_m": [2, 1.5],
    "owners": {"first": "Ada"},
    "colour": "is no field",
}


def test_a_document_becomes_its_dataclass() -> None:
    assert read(Vehicle, parse(json.dumps(_JSON))) == Vehicle(
        name="ox",
        kind="cart",
        built=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        electric=False,
        wheels=(Wheel(300.0, 12), Wheel(2.5)),
        size_m=(2.0, 1.5),
        owners={"first": "Ada"},
    )
    assert read(Vehicle, _JSON | {"seats": 4}).seats == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "OX"}, "name is 'OX', expected small letters"),
        ({"name": None}, "name is None, expected small letters"),
        ({"kind": "bus"}, "kind is 'bus', not one of cart, car"),
        ({"kind": ["cart"]}, r"kind is \['cart'\], not one of"),
        ({"built": "yesterday"}, "built is 'yesterday', expected a time in ISO 8601"),
        ({"electric": 1}, "electric is 1, expected true or false"),
        ({"wheels": {}}, r"wheels is \{\}, expected a list"),
        ({"wheels": [_JSON["wheels"][0], {}]}, r"wheels\[1\]\.radius_mm is missing"),
        ({"wheels": [7]}, r"wheels\[0\] is 7, expected a JSON object"),
        ({"wheels": [{"radius_mm": math.nan}]}, r"wheels\[0\]\.radius_mm is nan, expected a number above 0"),
        (
            {"wheels": [{"radius_mm": 10**400}]},
            r"wheels\[0\]\.radius_mm is 1000.*, expected a number above 0",
        ),
        ({"wheels": [{"radius_mm": True}]}, r"wheels\[0\]\.radius_mm is True, expected a number above 0"),
        ({"wheels": [{"radius_mm": 1, "spokes": 65}]}, r"wheels\[0\]\.spokes is 65, expected .* 0 to 64"),
        ({"size_m": [1]}, r"size_m is \[1\], expected two numbers"),
        ({"size_m": [1, "2"]}, r"size_m is \[1, '2'\], expected two numbers"),
        ({"owners": {"first": "half a pair: \ud800"}}, "owners.first is .*, expected a text"),
        ({"owners": []}, r"owners is \[\], expected a JSON object"),
        ({"seats": 0}, "seats is 0, expected a whole number of at least 1"),
        ({"seats": 1.0}, "seats is 1.0, expected a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(JsonError, match=f"^{message}"):
        read(Vehicle, _JSON | change)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, '{"a": ' + "9" * 10_000 + "}", b"\xff\xfe\xff", "{'a': 1}"]
)
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(JsonError, match=r"^not valid JSON"):
        parse(text)


def test_a_value_nested_deeply_is_shown_in_short() -> None:
    with pytest.raises(JsonError) as caught:
        read(Vehicle, _JSON | {"name": parse("[" * 900 + "]" * 900)})
    assert len(str(caught.value)) < 120


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(_JSON)), value=anything)
def test_any_value_is_read_as_its_type_or_refused(key: str, value: object) -> None:
    try:
        found = read(Vehicle, _JSON | {key: value})
    except JsonError:
        return
    assert read(Vehicle, _JSON | {key: value}) == found
    assert all(type(wheel.radius_mm) is float for wheel in found.wheels)

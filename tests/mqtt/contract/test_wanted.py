"""Wanted state is read only as its owner has signed it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.contract.wanted import (
    MAX_BYTES,
    Target,
    Wanted,
    WantedError,
    document,
    read_wanted,
    signed,
)
from edge_agent.tools.fleet.key import public_key

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = public_key(KEY)
CALM = Wanted("porches", 1000, "calm", Target({"stabilizer.window": 5}))

names = st.text("abcXYZ019_-.", min_size=1, max_size=64)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
nested = st.lists(st.text(), max_size=3) | st.dictionaries(st.text(), st.text(), max_size=3)
targets = st.builds(Target, st.dictionaries(st.text(max_size=20), scalars | nested, max_size=4))


@st.composite
def wanteds(draw: st.DrawFn) -> Wanted:
    trial = draw(st.none() | targets)
    devices = frozenset() if trial is None else draw(st.frozensets(names, max_size=4))
    sequence = draw(st.integers(1, 2**53))
    return Wanted(draw(names), sequence, draw(names), draw(targets), trial, devices)


def message(body: Any, key: Ed25519PrivateKey = KEY) -> bytes:
    """A signed message with any JSON in it."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return base64.b64encode(key.sign(b"edge-agent wanted 1\n" + text)) + b"\n" + text


@given(wanteds())
def test_what_is_signed_is_read_as_it_was(wanted: Wanted) -> None:
    assert read_wanted(signed(wanted, KEY.sign), PUBLIC, wanted.group) == wanted


def test_a_trial_is_for_the_devices_it_names() -> None:
    trial = Wanted("g", 1, "r", Target({"a": 1}), Target({"a": 2}), frozenset({"porch"}))
    assert (trial.of("porch").settings, trial.of("gate").settings) == ({"a": 2}, {"a": 1})


@given(st.binary(max_size=300))
def test_any_other_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises(WantedError):
        read_wanted(noise, PUBLIC, "porches")


@given(st.data())
def test_a_message_with_one_byte_changed_is_refused(data: st.DataObject) -> None:
    whole = signed(CALM, KEY.sign)
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    with pytest.raises(WantedError):
        read_wanted(whole[:place] + bytes([other]) + whole[place + 1 :], PUBLIC, "porches")


def test_another_s_signature_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    with pytest.raises(WantedError, match=r"not that of fleet\.public_key"):
        read_wanted(signed(CALM, other.sign), PUBLIC, "porches")


def test_a_text_that_was_signed_for_something_else_is_refused() -> None:
    with pytest.raises(WantedError, match="signature"):
        read_wanted(signed(CALM, lambda text: KEY.sign(text.partition(b"\n")[2])), PUBLIC, "porches")


def test_what_is_for_another_group_is_refused() -> None:
    with pytest.raises(WantedError, match="for the group porches"):
        read_wanted(signed(CALM, KEY.sign), PUBLIC, "gates")


def test_nothing_larger_than_a_device_takes_is_made_or_read() -> None:
    large = Wanted("porches", 1, "r", Target({"a": "x" * MAX_BYTES}))
    with pytest.raises(WantedError, match="more than a device takes"):
        signed(large, KEY.sign)
    with pytest.raises(WantedError, match="larger"):
        read_wanted(message(document(large)), PUBLIC, "porches")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"sequence": 0},
        {"sequence": "1"},
        {"sequence": 2**60},
        {"revision": "a b"},
        {"group": 1},
        {"wanted": []},
        {"wanted": {"settings": 1}},
        {"trial": {"devices": "porch"}},
    ],
)
def test_what_is_signed_and_no_document_is_refused(change: dict[str, Any]) -> None:
    body = json.loads(document(CALM)) | change
    with pytest.raises(WantedError, match="cannot be read"):
        read_wanted(message(body), PUBLIC, "porches")


def test_parts_that_are_not_known_are_named() -> None:
    body = json.loads(document(CALM)) | {"wanted": {"settings": {}, "firmware": 1}}
    assert read_wanted(message(body), PUBLIC, "porches").everyone.unknown == ("firmware",)

"""Text from outside never reaches a terminal, a log or JSON as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.system.text import encodable, printable

any_text = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize("text", ["", "cat.jpg", "Käse (1).jpg", "猫.png", "back\\slash"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert encodable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x1b[31mred\x9b", r"\x1b[31mred\x9b"),
        ("\x00", r"\x00"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\xe9.jpg"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_path_is_shown_like_its_text() -> None:
    assert printable(Path(os.fsdecode(b"/srv/\xff/a.jpg"))) == r"/srv/\xff/a.jpg"


def test_a_long_text_is_cut() -> None:
    assert printable("a" * 100, longest=10) == "aaaaaaa..."
    assert printable("a" * 10, longest=10) == "a" * 10


@given(any_text)
def test_every_text_becomes_one_printable_line_that_utf_8_can_carry(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert printable(shown) == shown


@given(any_text)
def test_encodable_text_is_utf_8_and_keeps_what_is_utf_8_already(text: str) -> None:
    encodable(text).encode()
    assert encodable(encodable(text)) == encodable(text)

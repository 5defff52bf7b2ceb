"""A head on disk: it comes back as it was, damage and other models are refused, its predecessor is kept."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.teach.fitting import fit
from edge_agent.teach.head import Head, Taught
from edge_agent.teach.head_file import MOST_BYTES, HeadFileError, from_bytes, load, revert, save, to_bytes
from tests.teach.test_fitting import SMALL, everything, frames_of
from tests.teach.worlds import World, backbone

REGRESSED = World(features=64, apart=0.4, seed=5)
TAUGHT = fit(REGRESSED.examples(range(6), 2), backbone(64), frames_of(SMALL)).head.taught
CONTENT = to_bytes(TAUGHT)


def another(label: str) -> Taught:
    return fit(SMALL.examples([0], 2, labels=[label, "b"]), backbone(64)).head.taught


def resealed(change: Callable[[dict[str, Any]], object], numbers: bytes | None = None) -> bytes:
    """The file with another header or other numbers, and a hash that is right: no chance does that."""
    line, _, old = CONTENT.split(b"\n", 2)[2].partition(b"\n")
    header = json.loads(line)
    change(header)
    body = json.dumps(header).encode() + b"\n" + (old if numbers is None else numbers)
    return b"edge-agent head 2\n%s\n%s" % (hashlib.sha256(body).hexdigest().encode(), body)


def test_a_head_comes_back_as_it_was(tmp_path: Path) -> None:
    assert TAUGHT.method == "regression", "the case no longer shows what it should"
    for taught in (TAUGHT, another("a"), replace(TAUGHT, fingerprint="")):
        save(tmp_path / "head", taught)
        read = load(tmp_path / "head", backbone(64))
        assert everything(Head(read)) == everything(Head(taught))
        assert read.backbone == taught.backbone
        assert read.method == taught.method


def test_ten_labels_of_fifty_examples_take_less_than_sixty_kilobytes() -> None:
    world = World(labels="abcdefghij", apart=0.5, seed=1)
    taught = fit(world.examples(range(10), 5), backbone(), frames_of(world)).head.taught
    assert taught.method == "regression", "the case no longer shows the largest file"
    size = len(to_bytes(taught))
    print(f"{size} bytes")
    assert 20_000 < size < 60_000


def test_the_predecessor_is_kept_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state" / "head"
    for label in ("one", "two", "three"):
        save(path, another(label))
    assert load(path.with_name("head.previous")).labels == ("b", "two")
    assert revert(path).labels == ("b", "two")
    assert load(path).labels == ("b", "two")
    assert load(path.with_name("head.reverted")).labels == ("b", "three")
    with pytest.raises(HeadFileError, match="there is no head before this one"):
        revert(path)
    assert load(path).labels == ("b", "two")


def test_a_damaged_predecessor_does_not_take_the_place_of_the_head(tmp_path: Path) -> None:
    path = tmp_path / "head"
    save(path, another("one"))
    path.with_name("head.previous").write_bytes(CONTENT[:-1])
    with pytest.raises(HeadFileError, match="previous: cannot be used"):
        revert(path)
    assert load(path).labels == ("b", "one")


def test_a_damaged_head_is_set_aside_and_is_nobodys_predecessor(tmp_path: Path) -> None:
    path = tmp_path / "head"
    save(path, another("one"))
    save(path, another("two"))
    path.write_bytes(b"damaged")
    save(path, another("three"))
    assert path.with_name("head.damaged").read_bytes() == b"damaged"
    assert load(path.with_name("head.previous")).labels == ("b", "one")
    assert load(path).labels == ("b", "three")


def test_a_full_disk_leaves_the_head_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "head"
    save(path, another("one"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(path, another("two"))
    assert load(path).labels == ("b", "one")


@pytest.mark.parametrize(
    ("present", "said"),
    [
        (replace(backbone(64), sha256="cd" * 32), "taught on another model"),
        (replace(backbone(64), arithmetic="native-fp32"), "taught with native-fp16, and the model runs with"),
        (backbone(512), "taught on another model"),
    ],
)
def test_a_head_of_another_network_is_refused(tmp_path: Path, present: Any, said: str) -> None:
    save(tmp_path / "head", TAUGHT)
    with pytest.raises(HeadFileError, match=f"{tmp_path}/head: cannot be used: it was {said}"):
        load(tmp_path / "head", present)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no head"),
        (b"\x80\x04\x95", "no head"),
        (CONTENT.replace(b"head 2", b"head 3", 1), "another format"),
        (CONTENT[:-1], "sha256"),
        (CONTENT + b"\0", "sha256"),
        (resealed(lambda h: h, b""), "cut"),
        (resealed(lambda h: h, bytes(1 << 20)), "sums that no examples|longer"),
        (resealed(lambda h: h["labels"].clear()), "labels"),
        (resealed(lambda h: h["labels"].reverse()), "not in order"),
        (resealed(lambda h: h["labels"][0].update(label="\x1b[2J")), "cannot be a label"),
        (resealed(lambda h: h["labels"][0].update(label="unknown")), "cannot be taught|not in order"),
        (resealed(lambda h: h["labels"][0].update(count=0)), "1 to 8192"),
        (resealed(lambda h: h["labels"][0].update(count=1)), "sums that no examples"),
        (resealed(lambda h: h["labels"][0].update(squares=0)), "sums that no examples"),
        (resealed(lambda h: h["labels"][0].update(squares=10**40)), "sums that no examples"),
        (resealed(lambda h: h["labels"][0].update(squares=True)), "whole number"),
        (resealed(lambda h: h["backbone"].update(features=10**9)), "1 to 4096"),
        (resealed(lambda h: h["backbone"].update(features=63)), "sums that no examples|longer|finite"),
        (resealed(lambda h: h["backbone"].update(sha256="x")), "64 hexadecimal digits"),
        (resealed(lambda h: h.update(method="pickle")), "not one of"),
        (resealed(lambda h: h.update(method="means")), "longer"),
        (resealed(lambda h: h.update(more="x" * 70_000)), "header is too long"),
    ],
)
def test_what_is_no_head_is_refused_with_the_reason(content: bytes, said: str) -> None:
    with pytest.raises(HeadFileError, match=said):
        from_bytes(content)


def test_numbers_that_are_not_finite_are_refused() -> None:
    numbers = bytearray(CONTENT.split(b"\n", 2)[2].partition(b"\n")[2])
    numbers[-2:] = np.float16(np.inf).tobytes()
    numbers[-4:] = np.float32(np.nan).tobytes()
    with pytest.raises(HeadFileError, match="not finite"):
        from_bytes(resealed(lambda header: header, bytes(numbers)))


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "head").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(HeadFileError, match=f"larger than {MOST_BYTES}"):
        load(tmp_path / "head")


def test_a_missing_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeadFileError, match=f"{tmp_path}/head: cannot be read: No such file"):
        load(tmp_path / "head")


@settings(max_examples=300)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255), st.integers(0, 40))
def test_no_flipped_bit_and_no_cut_passes(position: int, mask: int, cut: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[position] ^= mask
    with pytest.raises(HeadFileError):
        from_bytes(bytes(damaged))
    with pytest.raises(HeadFileError):
        from_bytes(CONTENT[: position - cut])


def check_sealed_damage(seed: int) -> bool:
    """Damage with a hash that is right: it is refused, or a head that answers. Whether it was refused."""
    chance = random.Random(seed)
    body = bytearray(CONTENT.split(b"\n", 2)[2])
    end = len(body) if chance.random() < 0.3 else body.index(b"\n") + 1
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(end)
        match chance.randrange(3):
            case 0:
                body[place] = chance.randrange(256)
            case 1:
                del body[place : place + chance.randrange(1, 9)]
            case _:
                body[place:place] = chance.randbytes(chance.randrange(1, 9))
    content = b"edge-agent head 2\n%s\n%s" % (hashlib.sha256(body).hexdigest().encode(), body)
    try:
        head = Head(from_bytes(content))
    except HeadFileError as error:
        return len(str(error)) < 1000
    if len(head.centre) == 64:
        answer = head.answer(SMALL.example("a", 0, 0).feature)
        assert not np.isnan(answer.likeness)
    return False


def test_damage_that_is_sealed_is_refused_or_harmless() -> None:
    refused = sum(check_sealed_damage(seed) for seed in range(500))
    assert 0 < refused < 500


@pytest.mark.attack
def test_damage_that_is_sealed_is_refused_or_harmless_by_the_thousand() -> None:
    assert sum(check_sealed_damage(seed) for seed in range(20_000)) > 0

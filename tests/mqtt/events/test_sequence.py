"""Sequence numbers: always growing, never used twice, whatever becomes of their file."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.mqtt.events.sequence import SequenceNumbers
from tests.clock import FakeClock

FRAMES_PER_S = 30
LONGEST_JSON_INTEGER = 2**53


def use(sequence: SequenceNumbers, clock: FakeClock, count: int) -> list[int]:
    """Take numbers as fast as a fast camera does."""
    clock.advance(1.5)  # an agent does not start in less
    numbers: list[int] = []
    for _ in range(count):
        numbers.append(sequence.next())
        clock.advance(1 / FRAMES_PER_S)
    return numbers


@contextmanager
def unwritable() -> Iterator[None]:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with patch.object(os, "pwrite", refuse):
        yield


def test_numbers_start_from_the_clock_and_go_on_after_an_orderly_end(tmp_path: Path) -> None:
    clock = FakeClock()
    start = int(clock.wall_s * 1000)
    first = SequenceNumbers(tmp_path / "new" / "seq", clock)
    assert [first.next() for _ in range(3)] == [start, start + 1, start + 2]
    first.close()
    assert SequenceNumbers(tmp_path / "new" / "seq", clock).next() == start + 3


@pytest.mark.parametrize("count", [1, 999, 2500, 50_000])
def test_a_crash_skips_no_numbers_ahead_of_the_clock(tmp_path: Path, count: int) -> None:
    clock = FakeClock()
    used = use(SequenceNumbers(tmp_path / "seq", clock), clock, count)
    clock.advance(1)
    following = SequenceNumbers(tmp_path / "seq", clock).next()
    assert used[-1] < following == int(clock.wall_s * 1000)


@settings(max_examples=30)  # each run waits for the disk
@given(st.lists(st.tuples(st.integers(0, 2500), st.booleans()), max_size=8))
def test_no_number_comes_twice_however_the_agent_ends(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, bool]]
) -> None:
    file = tmp_path_factory.mktemp("sequence") / "seq"
    numbers: list[int] = []
    for count, orderly in runs:
        sequence = SequenceNumbers(file, FakeClock())  # a clock that always starts at the same time
        numbers += [sequence.next() for _ in range(count)]
        if orderly:
            sequence.close()
    assert numbers == sorted(set(numbers))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["keep", "flip", "cut", "garbage", "long", "lose", "read-only"]),
            st.integers(0, 500),
            st.integers(0, 10_000),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_numbers_only_grow_whatever_becomes_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, int, int, bool]]
) -> None:
    """Damage, loss, a new SD card, a disk that cannot be written: in any order, with kills in between."""
    file = tmp_path_factory.mktemp("sequence") / "seq"
    clock = FakeClock()
    numbers: list[int] = []
    for damage, count, where, orderly in runs:
        spoil(file, damage, where)
        if damage == "read-only":
            with unwritable():
                numbers += use(SequenceNumbers(file, clock), clock, count)
        else:
            sequence = SequenceNumbers(file, clock)
            numbers += use(sequence, clock, count)
            if orderly:
                sequence.close()
    assert numbers == sorted(set(numbers))
    assert all(number < LONGEST_JSON_INTEGER for number in numbers)


def spoil(file: Path, damage: str, where: int) -> None:
    if not file.exists():
        return
    content = bytearray(file.read_bytes() or b"\0")
    match damage:
        case "flip":
            content[where // 8 % len(content)] ^= 1 << where % 8
        case "cut":
            del content[where % len(content) :]
        case "garbage":
            content[:] = bytes((where * 7 + index * 31) % 256 for index in range(where % 64))
        case "long":
            content += b"x" * where
        case "lose":
            file.unlink()
            return
    file.write_bytes(content)


def test_every_flipped_bit_is_noticed_and_the_file_is_kept(tmp_path: Path) -> None:
    clock = FakeClock()
    used = use(SequenceNumbers(tmp_path / "seq", clock), clock, 306)
    good = (tmp_path / "seq").read_bytes()
    for bit in range(8 * len(good)):
        place = tmp_path / str(bit)
        place.mkdir()
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        (place / "seq").write_bytes(content)
        assert SequenceNumbers(place / "seq", clock).next() > used[-1]
        assert (place / "seq.damaged").read_bytes() == content


def test_a_second_damaged_file_does_not_pile_up(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / "seq").write_text(f"garbage {number}")
        SequenceNumbers(tmp_path / "seq", FakeClock()).next()
    assert {file.name for file in tmp_path.iterdir()} == {"seq", "seq.damaged", "seq.damaged-before"}
    assert (tmp_path / "seq.damaged").read_text() == "garbage 4"


def test_two_starts_with_a_read_only_disk_do_not_lead_back(tmp_path: Path) -> None:
    clock = FakeClock()
    numbers = use(SequenceNumbers(tmp_path / "seq", clock), clock, 306)
    for _ in range(2):
        with unwritable():
            numbers += use(SequenceNumbers(tmp_path / "seq", clock), clock, 306)
    numbers += use(SequenceNumbers(tmp_path / "seq", clock), clock, 306)
    assert numbers == sorted(set(numbers))


def test_a_new_sd_card_does_not_lead_back(tmp_path: Path) -> None:
    clock = FakeClock()
    old = use(SequenceNumbers(tmp_path / "old" / "seq", clock), clock, 10_000)
    shutil.rmtree(tmp_path / "old")
    clock.advance(60)
    assert SequenceNumbers(tmp_path / "new" / "seq", clock).next() > old[-1]


def test_where_the_clock_is_set_only_later_the_numbers_jump_ahead_then(tmp_path: Path) -> None:
    """A new SD card in a board without a real-time clock."""
    clock = FakeClock(wall_s=0.0, is_synced=False)
    sequence = SequenceNumbers(tmp_path / "seq", clock)
    assert [sequence.next() for _ in range(3)] == [1, 2, 3]
    clock.wall_s, clock.is_synced = 1_800_000_000.0, True
    assert sequence.next() == 1_800_000_000_000
    assert sequence.next() == 1_800_000_000_001
    clock.wall_s, clock.is_synced = 1.0, False  # the power fails, and the clock starts from 0 again
    assert SequenceNumbers(tmp_path / "seq", clock).next() > 1_800_000_000_001


def test_the_number_of_an_older_release_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "seq").write_text(f"{1_800_000_000_123:020d}\n")
    assert SequenceNumbers(tmp_path / "seq", FakeClock()).next() == 1_800_000_000_123
    assert not (tmp_path / "seq.damaged").exists()


def test_the_disk_is_written_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real = os.pwrite

    def counting(descriptor: int, data: bytes, offset: int) -> int:
        writes.append(len(data))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", counting)
    clock = FakeClock()
    a_week_at_two_frames_a_second = 7 * 24 * 3600 * 2
    sequence = SequenceNumbers(tmp_path / "seq", clock)
    for _ in range(a_week_at_two_frames_a_second):
        sequence.next()
        clock.advance(0.5)
    assert len(writes) <= 4


@pytest.mark.parametrize("content", ["", "garbage\n", "12", "\x00" * 21, "9" * 20 + "\n"])
def test_a_damaged_file_is_said(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "seq").write_text(content)
    clock = FakeClock()
    assert SequenceNumbers(tmp_path / "seq", clock).next() == int(clock.wall_s * 1000)
    assert f"go on from the time of day: {tmp_path / 'seq'} cannot be used (it is damaged)" in caplog.text


def test_a_disk_that_cannot_be_written_does_not_stop_counting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    sequence = SequenceNumbers(tmp_path / "seq", clock)
    numbers = use(sequence, clock, 5)
    with caplog.at_level(logging.WARNING), unwritable():
        numbers += use(sequence, clock, 3000)
        sequence.close()
    assert caplog.text.count("Read-only file system") == 1
    numbers += use(sequence, clock, 1000)
    numbers += use(SequenceNumbers(tmp_path / "seq", clock), clock, 100)
    assert numbers == sorted(set(numbers))


def test_numbers_go_on_above_those_of_waiting_events(tmp_path: Path) -> None:
    assert SequenceNumbers(tmp_path / "seq", FakeClock(), floor=2 * 10**12).next() == 2 * 10**12 + 1

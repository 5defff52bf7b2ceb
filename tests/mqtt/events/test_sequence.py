"""Sequence numbers: always growing, never used twice."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.mqtt.events.sequence import SequenceNumbers
from tests.clock import FakeClock


def test_numbers_count_from_one_and_go_on_after_an_orderly_end(tmp_path: Path) -> None:
    first = SequenceNumbers(tmp_path / "new" / "seq", FakeClock())
    assert [first.next() for _ in range(3)] == [1, 2, 3]
    first.close()
    assert SequenceNumbers(tmp_path / "new" / "seq", FakeClock()).next() == 4


def test_after_a_crash_the_reserved_numbers_are_skipped(tmp_path: Path) -> None:
    crashed = SequenceNumbers(tmp_path / "seq", FakeClock(), block=100)
    used = [crashed.next() for _ in range(250)]
    assert SequenceNumbers(tmp_path / "seq", FakeClock(), block=100).next() == 301
    assert max(used) == 250


@settings(max_examples=30)  # each run waits for the disk
@given(st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=8))
def test_no_number_comes_twice_however_the_agent_ends(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, bool]]
) -> None:
    file = tmp_path_factory.mktemp("sequence") / "seq"
    numbers: list[int] = []
    for count, orderly in runs:
        sequence = SequenceNumbers(file, FakeClock(), block=10)
        numbers += [sequence.next() for _ in range(count)]
        if orderly:
            sequence.close()
    assert numbers == sorted(set(numbers))


def test_the_disk_is_written_once_for_many_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real = os.pwrite

    def counting(descriptor: int, data: bytes, offset: int) -> int:
        writes.append(len(data))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", counting)
    sequence = SequenceNumbers(tmp_path / "seq", FakeClock())
    for _ in range(10_000):
        sequence.next()
    assert len(writes) == 1


@pytest.mark.parametrize("content", ["", "garbage\n", "12", "\x00" * 21])
def test_a_damaged_file_never_leads_back(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "seq").write_text(content)
    clock = FakeClock()
    first = SequenceNumbers(tmp_path / "seq", clock).next()
    if content == "12":
        assert first == 12
    else:
        assert first == int(clock.wall_s * 1000)
        assert "go on from the time of day" in caplog.text
        clock.advance(1)
        assert SequenceNumbers(tmp_path / "seq", clock).next() > first


def test_a_disk_that_cannot_be_written_does_not_stop_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sequence = SequenceNumbers(tmp_path / "seq", FakeClock(), block=10)
    numbers = [sequence.next() for _ in range(5)]

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with caplog.at_level(logging.WARNING), monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        numbers += [sequence.next() for _ in range(100)]
        sequence.close()
        assert "No space left" in caplog.text
        clock = FakeClock()
        clock.advance(60)
        again = SequenceNumbers(tmp_path / "seq", clock, block=10)
        numbers += [again.next() for _ in range(20)]
    assert numbers == sorted(set(numbers))
    recovered = SequenceNumbers(tmp_path / "seq", clock, block=10)
    assert not set(numbers) & {recovered.next() for _ in range(1000)}


def test_numbers_go_on_above_those_of_waiting_events(tmp_path: Path) -> None:
    assert SequenceNumbers(tmp_path / "seq", FakeClock(), floor=5000).next() == 5001

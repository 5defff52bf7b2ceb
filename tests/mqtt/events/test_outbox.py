"""The outbox: nothing lost, in order, bounded, and the disk left alone while the broker answers."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.config.schema import OutboxConfig
from edge_agent.mqtt.contract.payloads import LabelChanged, utc
from edge_agent.mqtt.events.outbox import SPILL_AFTER_S, Outbox, OutboxLimits, open_outbox
from edge_agent.mqtt.events.row import Row
from edge_agent.mqtt.events.store import SqliteStore, StoreError
from tests.clock import FakeClock
from tests.mqtt.brokers import wait_until
from tests.mqtt.samples import changed

WIDE = OutboxLimits(max_rows=1000, max_bytes=1_000_000)


class FlakyStore(SqliteStore):
    """A real store on a disk that fails when the test says so."""

    broken = False

    def add(self, rows: Sequence[Row]) -> None:
        self._fail_if_broken()
        super().add(rows)

    def remove(self, seqs: Iterable[int]) -> int:
        self._fail_if_broken()
        return super().remove(seqs)

    def _fail_if_broken(self) -> None:
        if self.broken:
            raise StoreError(f"{self.path}: database or disk is full")


@dataclasses.dataclass
class Bench:
    """An outbox with its files and its clock; `restart` is a killed agent that comes back."""

    directory: Path
    limits: OutboxLimits = WIDE
    boot: str = "boot-1"
    clock: FakeClock = dataclasses.field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.journal = FlakyStore(self.directory / "run" / "journal.sqlite3", durable=False)
        self.disk = FlakyStore(self.directory / "state" / "outbox.sqlite3", durable=True)
        self.outbox = Outbox(self.journal, self.disk, self.limits, self.clock, self.boot)

    def restart(self) -> None:
        """The agent is killed and comes back: what SQLite has written is there, nothing was tidied up."""
        self._leave(("run", "state"))
        self.start()

    def cut_power(self) -> None:
        """The same, but what lay in memory is gone."""
        self._leave(("state",))
        self.boot = "boot-2"
        self.start()

    def _leave(self, surviving: tuple[str, ...]) -> None:
        copies = self.directory / "after"
        present = [name for name in surviving if (self.directory / name).exists()]
        for name in present:
            shutil.copytree(self.directory / name, copies / name)
        self.journal.close()
        self.disk.close()
        for name in ("run", "state"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        for name in present:
            (copies / name).rename(self.directory / name)

    @property
    def place(self) -> str:
        return self.outbox.place

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.outbox.tick()

    def waiting(self) -> list[int]:
        seqs: list[int] = []
        while (event := self.outbox.after(seqs[-1] if seqs else -1)) is not None:
            seqs.append(event.seq)
        return seqs


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def fill(bench: Bench, *seqs: int) -> None:
    for seq in seqs:
        bench.outbox.put(changed(seq))


def test_events_wait_in_order_until_they_are_removed(bench: Bench) -> None:
    fill(bench, 3, 5, 9)
    assert bench.waiting() == [3, 5, 9]
    assert bench.outbox.after(-1) == changed(3)
    bench.outbox.remove(3)
    assert bench.waiting() == [5, 9]
    assert len(bench.outbox) == 2


def test_an_event_keeps_its_region_in_memory_and_on_disk(bench: Bench) -> None:
    bench.outbox.put(changed(1, region="gate"))
    bench.outbox.put(changed(2))
    for _ in range(2):
        assert [bench.outbox.after(seq) for seq in (0, 1)] == [changed(1, region="gate"), changed(2)]
        bench.wait(SPILL_AFTER_S + 1)
        bench.cut_power()


def test_while_the_broker_answers_the_disk_is_not_touched(bench: Bench) -> None:
    for seq in range(1, 200):
        fill(bench, seq)
        bench.outbox.remove(seq)
        bench.wait(1.0)
    assert not (bench.directory / "state").exists()
    assert bench.place == "volatile"


def test_an_event_that_waits_moves_to_the_disk_and_survives_a_power_cut(bench: Bench) -> None:
    fill(bench, 1, 2)
    bench.wait(SPILL_AFTER_S - 0.1)
    assert bench.disk.rows == 0
    bench.wait(0.2)
    assert (bench.journal.rows, bench.disk.rows) == (0, 2)
    assert bench.place == "disk"
    bench.cut_power()
    assert bench.waiting() == [1, 2]


def test_a_power_cut_costs_only_the_last_seconds(bench: Bench) -> None:
    fill(bench, 1)
    bench.wait(SPILL_AFTER_S)
    fill(bench, 2)
    bench.cut_power()
    assert bench.waiting() == [1]


def test_an_agent_killed_at_once_loses_nothing(bench: Bench) -> None:
    fill(bench, 1)
    bench.wait(SPILL_AFTER_S)
    fill(bench, 2, 3)
    bench.restart()
    assert bench.waiting() == [1, 2, 3]


def test_an_event_that_lies_in_both_files_is_there_once(bench: Bench) -> None:
    fill(bench, 1, 2)
    bench.disk.add(
        bench.journal.after(-1, 10)
    )  # killed after the copy to disk, before the journal was emptied
    bench.restart()
    assert bench.waiting() == [1, 2]
    assert len(bench.outbox) == 2
    bench.outbox.remove(1)
    bench.outbox.remove(2)
    bench.wait(1)
    bench.restart()
    assert bench.waiting() == []


def test_an_orderly_end_brings_everything_to_disk(bench: Bench) -> None:
    fill(bench, 1, 2)
    bench.outbox.close()
    bench.outbox.close()
    bench.cut_power()
    assert bench.waiting() == [1, 2]


def test_removals_reach_the_disk_in_batches(bench: Bench) -> None:
    fill(bench, *range(1, 51))
    bench.wait(SPILL_AFTER_S)
    for seq in range(1, 50):
        bench.outbox.remove(seq)
    assert bench.disk.rows == 50
    assert (bench.waiting(), len(bench.outbox)) == ([50], 1)
    bench.wait(1.0)
    assert bench.disk.rows == 1


def test_beyond_the_limits_the_oldest_are_dropped_and_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, OutboxLimits(max_rows=10, max_bytes=1_000_000))
    for seq in range(1, 31):
        fill(bench, seq)
        bench.wait(1.0)
    assert bench.waiting() == list(range(21, 31))
    assert bench.outbox.dropped == 20


def test_the_bound_in_bytes_holds_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, OutboxLimits(max_rows=1000, max_bytes=2000))
    for seq in range(1, 101):
        fill(bench, seq)
    assert bench.journal.bytes <= 2000
    bench.wait(SPILL_AFTER_S)
    for seq in range(101, 111):
        fill(bench, seq)
        bench.wait(1.0)
    assert bench.journal.bytes + bench.disk.bytes <= 2000
    assert bench.waiting()[-1] == 110
    assert len(bench.waiting()) + bench.outbox.dropped == 110


def test_a_smaller_bound_after_a_restart_drops_the_oldest(bench: Bench) -> None:
    fill(bench, *range(1, 21))
    bench.wait(SPILL_AFTER_S)
    bench.limits = OutboxLimits(max_rows=5, max_bytes=1_000_000)
    bench.restart()
    bench.wait(1.0)
    assert bench.waiting() == [16, 17, 18, 19, 20]


def test_on_a_full_disk_events_stay_in_memory_and_it_says_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.disk.broken = True
    fill(bench, 1, 2)
    with caplog.at_level(logging.INFO):
        for _ in range(30):
            bench.wait(SPILL_AFTER_S)
        assert bench.waiting() == [1, 2]
        assert bench.place == "volatile"
        assert (
            "database or disk is full; until it can be written, events are kept in memory only" in caplog.text
        )
        assert len([record for record in caplog.records if "disk is full" in record.getMessage()]) == 1
        bench.disk.broken = False
        bench.wait(60)
    assert "can be written again" in caplog.text
    assert bench.disk.rows == 2
    assert bench.place == "disk"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a file system can only be mounted by root: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_on_a_disk_that_is_really_full(
    tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    disk = SqliteStore(small_disk / "outbox.sqlite3", durable=True)
    outbox = Outbox(SqliteStore(tmp_path / "journal", durable=False), disk, WIDE, clock, "boot")
    outbox.put(changed(1))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(b"x" * 300_000)
    clock.advance(SPILL_AFTER_S)
    outbox.tick()
    assert "kept in memory only" in caplog.text
    assert outbox.after(-1) == changed(1)
    ballast.unlink()
    clock.advance(60)
    outbox.tick()
    assert disk.rows == 1
    outbox.close()


def test_where_no_file_can_be_written_events_last_as_long_as_the_process(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    fill(bench, 1)
    bench.journal.broken = bench.disk.broken = True
    fill(bench, 2, 3)
    bench.wait(SPILL_AFTER_S)
    assert bench.place == "memory"
    assert "kept in the agent's memory only" in caplog.text
    assert bench.waiting() == [1, 2, 3]
    bench.outbox.remove(2)
    assert bench.waiting() == [1, 3]
    bench.journal.broken = bench.disk.broken = False
    bench.wait(60)
    assert bench.place == "disk"
    bench.restart()
    assert bench.waiting() == [1, 3]


def test_new_numbers_must_be_above_every_waiting_one(bench: Bench) -> None:
    assert bench.outbox.newest == 0
    fill(bench, 7)
    assert bench.outbox.newest == 7
    bench.wait(SPILL_AFTER_S)
    fill(bench, 9)
    assert bench.outbox.newest == 9


class TestTimes:
    """A board without a real-time clock learns the time late."""

    def put_before_the_clock_is_set(self, bench: Bench) -> None:
        bench.clock.wall_s = 100.0
        bench.clock.is_synced = False
        bench.outbox.put(LabelChanged(1, utc(99.5), False, "cat", "dog", 0.5))

    def set_clock(self, bench: Bench) -> None:
        bench.clock.wall_s = 1_800_000_000.0
        bench.clock.is_synced = True

    def test_a_waiting_event_gets_its_true_time_once_the_clock_is_set(self, bench: Bench) -> None:
        self.put_before_the_clock_is_set(bench)
        bench.wait(3600)
        self.set_clock(bench)
        event = bench.outbox.after(-1)
        assert event is not None
        assert event.ts_synced
        assert event.ts == utc(1_800_000_000.0 - 3600.5)

    def test_so_does_one_that_an_agent_before_left_in_the_same_boot(self, bench: Bench) -> None:
        self.put_before_the_clock_is_set(bench)
        bench.restart()
        bench.wait(60)
        self.set_clock(bench)
        event = bench.outbox.after(-1)
        assert event is not None
        assert event.ts == utc(1_800_000_000.0 - 60.5)

    def test_one_from_an_earlier_boot_stays_marked(self, bench: Bench) -> None:
        self.put_before_the_clock_is_set(bench)
        bench.wait(SPILL_AFTER_S)
        bench.cut_power()
        self.set_clock(bench)
        event = bench.outbox.after(-1)
        assert event is not None
        assert (event.ts_synced, event.ts) == (False, utc(99.5))

    def test_until_then_it_stays_marked(self, bench: Bench) -> None:
        self.put_before_the_clock_is_set(bench)
        event = bench.outbox.after(-1)
        assert event is not None
        assert (event.ts_synced, event.ts) == (False, utc(99.5))

    def test_a_true_time_is_never_changed(self, bench: Bench) -> None:
        bench.outbox.put(changed(1))
        bench.clock.wall_s += timedelta(days=1).total_seconds()
        assert bench.outbox.after(-1) == changed(1)


class TestOpening:
    """Where the files of the configuration are."""

    def test_the_journal_is_in_the_runtime_directory(self, tmp_path: Path) -> None:
        environment = {
            "STATE_DIRECTORY": str(tmp_path / "state"),
            "RUNTIME_DIRECTORY": str(tmp_path / "run"),
        }
        outbox = open_outbox(OutboxConfig(), FakeClock(), environment)
        outbox.put(changed(1))
        assert not (tmp_path / "state").exists()
        assert any((tmp_path / "run").iterdir())
        outbox.close()
        assert (tmp_path / "state" / "outbox.sqlite3").exists()

    def test_without_one_it_is_beside_the_outbox(self, tmp_path: Path) -> None:
        outbox = open_outbox(
            OutboxConfig(path=tmp_path / "events.sqlite3"), FakeClock(), {"HOME": "/nowhere"}
        )
        outbox.put(changed(1))
        assert [file.name[:7] for file in tmp_path.iterdir()] == ["outbox-"] * len(list(tmp_path.iterdir()))
        outbox.close()
        assert (tmp_path / "events.sqlite3").exists()

    def test_two_configurations_have_two_journals(self, tmp_path: Path) -> None:
        environment = {"RUNTIME_DIRECTORY": str(tmp_path / "run")}
        clock = FakeClock()
        first = open_outbox(OutboxConfig(path=tmp_path / "a.sqlite3"), clock, environment)
        second = open_outbox(OutboxConfig(path=tmp_path / "b.sqlite3"), clock, environment)
        first.put(changed(1))
        second.put(changed(2))
        assert (first.place, second.place) == ("volatile", "volatile")
        assert (first.newest, second.newest) == (1, 2)


def test_sqlite_is_not_loaded_before_the_first_event() -> None:
    code = "import sys, edge_agent.mqtt.events.outbox; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class OutboxMachine(RuleBasedStateMachine):
    """Events, answers, waits, failures, kills and power cuts in any order, against a model."""

    @initialize(max_rows=st.integers(3, 12))
    def start(self, max_rows: int) -> None:
        import tempfile

        self.temporary = tempfile.TemporaryDirectory()
        self.bench = Bench(Path(self.temporary.name), OutboxLimits(max_rows, 1_000_000))
        self.seq = 0
        self.waiting: list[int] = []
        self.answered: set[int] = set()
        self.safe: set[int] = set()
        self.dropped_before = 0

    def teardown(self) -> None:
        if hasattr(self, "temporary"):
            self.temporary.cleanup()

    @rule(gap=st.integers(1, 3))
    def put(self, gap: int) -> None:
        self.seq += gap
        self.bench.outbox.put(changed(self.seq))
        self.waiting.append(self.seq)
        self.forget_dropped()

    @precondition(lambda self: self.waiting)
    @rule(position=st.integers(0, 4))
    def answer(self, position: int) -> None:
        seq = self.waiting[min(position, len(self.waiting) - 1)]
        self.bench.outbox.remove(seq)
        self.waiting.remove(seq)
        self.answered.add(seq)

    @rule(seconds=st.sampled_from([0.5, 3.0, SPILL_AFTER_S, 40.0]))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)
        self.forget_dropped()
        if not self.bench.disk.broken:
            assert len(self.bench.outbox) <= self.bench.limits.max_rows
        if not self.bench.journal.rows and not self.bench.disk.broken:
            self.safe = set(self.waiting)

    @rule(broken=st.booleans())
    def disk_full(self, broken: bool) -> None:
        self.bench.disk.broken = broken

    @rule()
    def killed(self) -> None:
        self.dropped_before = 0
        self.bench.restart()
        self.answered_may_be_back()

    @rule()
    def ended(self) -> None:
        broken = self.bench.disk.broken
        self.bench.outbox.close()
        if not broken:
            self.safe = set(self.waiting)
        self.dropped_before = 0
        self.bench.restart()
        self.answered_may_be_back()

    @rule()
    def power_cut(self) -> None:
        self.dropped_before = 0
        self.bench.cut_power()
        found = self.bench.waiting()
        assert self.safe & set(self.waiting) <= set(found)
        assert set(found) <= set(self.waiting) | self.answered
        self.waiting = found
        self.answered -= set(found)

    def answered_may_be_back(self) -> None:
        """An answer may not have reached the disk: the event is sent again, with the same seq."""
        found = self.bench.waiting()
        assert set(self.waiting) <= set(found)
        assert set(found) - set(self.waiting) <= self.answered
        self.waiting = found
        self.answered -= set(found)

    def forget_dropped(self) -> None:
        """Dropping is by age and counted; which of two files an old event lies in may decide between them."""
        dropped = self.bench.outbox.dropped - self.dropped_before
        self.dropped_before = self.bench.outbox.dropped
        found = set(self.bench.waiting())
        gone = [seq for seq in self.waiting if seq not in found]
        assert len(gone) <= dropped
        assert self.seq not in gone
        self.waiting = [seq for seq in self.waiting if seq in found]
        self.safe -= set(gone)

    @invariant()
    def everything_waits_in_order(self) -> None:
        if hasattr(self, "bench"):
            assert self.bench.waiting() == self.waiting


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


class LateLock:
    """A lock that lets `meanwhile` run on another thread, if it can, before it is taken the first time."""

    def __init__(self, lock: threading.Lock, meanwhile: Callable[[], None]) -> None:
        self._lock = lock
        self._meanwhile: threading.Thread | None = threading.Thread(target=meanwhile)

    def __enter__(self) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile.start()
            meanwhile.join(0.3)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_no_event_is_passed_over_while_others_move_to_the_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tick` moves rows on a thread of its own while the publisher looks for the next one."""
    fill(bench, 1, 2)
    bench.clock.advance(SPILL_AFTER_S)
    lock = LateLock(bench.outbox._journal_lock, bench.outbox.tick)
    monkeypatch.setattr(bench.outbox, "_journal_lock", lock)
    assert bench.outbox.after(-1) == changed(1)
    wait_until(lambda: bench.disk.rows == 2)
    assert bench.waiting() == [1, 2]

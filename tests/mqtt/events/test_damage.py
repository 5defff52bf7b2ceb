"""A damaged outbox: what is whole is delivered, so are all new events, and nothing raises or hangs."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.mqtt.contract.payloads import LabelChanged, encode
from edge_agent.mqtt.events.outbox import Outbox, OutboxLimits
from edge_agent.mqtt.events.store import SqliteStore
from tests.clock import FakeClock
from tests.mqtt.samples import changed

LIMITS = OutboxLimits(max_rows=10_000, max_bytes=10_000_000)
FILE = "outbox.sqlite3"
JOURNAL = "journal.sqlite3"
OLD = range(100, 400)


def open_outbox(directory: Path, clock: FakeClock) -> Outbox:
    return Outbox(
        SqliteStore(directory / JOURNAL, durable=False),
        SqliteStore(directory / FILE, durable=True),
        LIMITS,
        clock,
        "boot",
    )


def event(seq: int) -> LabelChanged:
    return changed(seq, f"label {seq}", "dög" * (seq % 40))


def killed_agent(directory: Path) -> None:
    """What an agent leaves that is killed: events on disk and in the journal, nothing tidied up."""
    work = directory.with_name(f"{directory.name}-work")
    clock = FakeClock()
    outbox = open_outbox(work, clock)
    half = len(OLD) // 2
    for seq in OLD[:half]:
        outbox.put(event(seq))
    clock.advance(10)
    outbox.tick()
    for seq in OLD[half:]:
        outbox.put(event(seq))
    shutil.copytree(work, directory)
    outbox.close()


def deliver(outbox: Outbox, most: int = 1000) -> list[LabelChanged]:
    """All that waits, as the publisher takes it; fails where that does not end."""
    delivered: list[LabelChanged] = []
    while (found := outbox.after(delivered[-1].seq if delivered else -1)) is not None:
        encode(found)
        delivered.append(found)
        assert len(delivered) < most
    for each in delivered:
        outbox.remove(each.seq)
    return delivered


def change(directory: Path, statement: str, file: str = FILE) -> None:
    """Do to the outbox what no release of the agent does."""
    database = sqlite3.connect(directory / file)
    database.execute("PRAGMA writable_schema = ON")
    database.execute(statement)
    database.commit()
    database.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An outbox in which the events OLD wait, all on disk."""
    clock = FakeClock()
    outbox = open_outbox(tmp_path / "outbox", clock)
    for seq in OLD:
        outbox.put(event(seq))
    outbox.close()
    return tmp_path / "outbox"


def check_all_but(directory: Path, missing: set[int]) -> Outbox:
    outbox = open_outbox(directory, FakeClock())
    outbox.put(event(1000))
    assert deliver(outbox) == [event(seq) for seq in [*OLD, 1000] if seq not in missing]
    assert len(outbox) == 0
    assert outbox.dropped == len(missing)
    return outbox


NOT_NULL_GONE = "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'events'"


@pytest.mark.parametrize(
    "damage",
    [
        "ts_s = 1e300",
        "ts_s = 9e999",
        "ts_s = -1e300",
        "ts_s = 'noon'",
        "score = 9e999",
        "score = X'00'",
        "synced = 7",
        "monotonic_s = 1e300",
        "from_label = CAST(X'FFFE' AS TEXT)",
        "to_label = X'636174'",
        "to_label = 'another'",
        "boot = CAST(X'C328' AS TEXT)",
        "crc = 1",
        "region = 'door'",
        "region = '../request/restart'",
        "seq = -5",
        "seq = 9223372036854775807",
    ],
)
def test_a_damaged_row_is_put_aside_and_all_others_are_delivered(
    old: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    change(old, f"UPDATE events SET {damage} WHERE seq = 200")
    outbox = check_all_but(old, {200})
    assert outbox.newest <= 1000
    assert "damaged events are put aside, into its table `damaged`" in caplog.text
    outbox.close()
    (kept,) = sqlite3.connect(old / FILE).execute("SELECT count(*) FROM damaged").fetchone()
    assert kept == 1


@pytest.mark.parametrize("column", ["ts_s", "from_label", "score", "boot"])
def test_a_value_that_is_missing_costs_its_own_row(old: Path, column: str) -> None:
    change(old, NOT_NULL_GONE)
    change(old, f"UPDATE events SET {column} = NULL WHERE seq = 200")
    check_all_but(old, {200})


def test_the_newest_number_counts_although_its_row_is_damaged(old: Path) -> None:
    change(old, f"UPDATE events SET score = 9e999 WHERE seq = {OLD[-1]}")
    assert open_outbox(old, FakeClock()).newest == OLD[-1]


def test_thousands_of_damaged_rows_do_not_stop_the_rest(old: Path) -> None:
    change(old, "UPDATE events SET crc = 1 WHERE seq < 395")
    check_all_but(old, set(range(100, 395)))


def test_rows_of_an_older_release_have_no_checksum_and_are_delivered(old: Path) -> None:
    change(old, "ALTER TABLE events DROP COLUMN crc")
    change(old, "ALTER TABLE events DROP COLUMN region")
    check_all_but(old, set())


def test_a_file_without_its_schema_is_kept_and_its_rows_are_delivered(
    old: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytearray((old / FILE).read_bytes())
    content[:100] = b"\xff" * 100
    (old / FILE).write_bytes(content)
    outbox = check_all_but(old, set())
    assert f"it is kept as {FILE}.damaged" in caplog.text
    assert (old / f"{FILE}.damaged").read_bytes() == content
    outbox.close()


def test_a_file_that_was_cut_gives_what_is_left_of_it(old: Path) -> None:
    content = (old / FILE).read_bytes()
    (old / FILE).write_bytes(content[: len(content) // 2])
    outbox = open_outbox(old, FakeClock())
    outbox.put(event(1000))
    delivered = deliver(outbox)
    assert delivered[-1] == event(1000)
    assert 50 < len(delivered) < len(OLD)
    assert all(each == event(each.seq) for each in delivered)


def test_a_third_damaged_file_does_not_pile_up(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / FILE).write_text(f"garbage {number}" * 1000)
        outbox = open_outbox(tmp_path, FakeClock())
        outbox.put(event(1))
        assert deliver(outbox) == [event(1)]
        outbox.close()
    names = {file.name for file in tmp_path.iterdir()}
    assert {name for name in names if "damaged" in name} == {f"{FILE}.damaged", f"{FILE}.damaged-before"}
    assert (tmp_path / f"{FILE}.damaged").read_text().startswith("garbage 3")


def test_an_event_that_cannot_be_published_is_dropped_and_counted(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, FakeClock())
    outbox.put(replace(event(1), score=float("nan")))
    outbox.put(event(2))
    assert [each.seq for each in deliver(outbox)] == [2]
    assert outbox.dropped == 1


def test_a_label_from_a_file_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, FakeClock())
    outbox.put(changed(1, "cat", "\udcff.jpg"))
    assert [each.to_label for each in deliver(outbox)] == ["\\udcff.jpg"]


def readable(path: Path) -> dict[int, tuple[object, ...]]:
    """What SQLite itself can read of a file: from its beginning, until it meets damage."""
    found: dict[int, tuple[object, ...]] = {}
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, ValueError):
        database = sqlite3.connect(path)
        database.text_factory = bytes
        with contextlib.closing(database):
            for row in database.execute("SELECT seq, from_label, to_label, score FROM events"):
                if isinstance(row[0], int):
                    found.setdefault(row[0], row)
    return found


def damage(chance: random.Random, file: Path) -> None:
    if not file.exists():
        return
    content = bytearray(file.read_bytes())
    match chance.choice(["bits", "bytes", "bytes", "block", "cut", "garbage", "header"]):
        case "bits":
            for _ in range(chance.randint(1, 20)):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        case "bytes":
            for _ in range(chance.choice([1, 10, 100, 1000])):
                content[chance.randrange(len(content))] = chance.randrange(256)
        case "block":
            start = chance.randrange(len(content))
            filling = chance.choice([b"\0", b"\xff", b"\x0d", b"A"])
            content[start : start + 4096] = filling * len(content[start : start + 4096])
        case "cut":
            del content[chance.randrange(len(content)) :]
        case "garbage":
            content[:] = chance.randbytes(chance.choice([0, 10, 5000]))
        case "header":
            content[chance.randrange(100)] = chance.randrange(256)
    file.write_bytes(content)


def one_case(chance: random.Random, pristine: Path, directory: Path) -> None:
    """Damage what a killed agent left, and see what the next two agents deliver."""
    shutil.copytree(pristine, directory)
    names = [FILE, f"{FILE}-wal", JOURNAL, f"{JOURNAL}-wal"]
    for name in chance.sample(names, chance.choice([1, 1, 2, 4])):
        damage(chance, directory / name)
    copy = directory.with_name(f"{directory.name}-copy")
    shutil.copytree(directory, copy)
    whole = readable(copy / FILE) | readable(copy / JOURNAL)
    expected = {seq for seq in OLD if whole.get(seq) == (seq, *_texts(event(seq)), event(seq).score)}
    clock = FakeClock()
    delivered: list[LabelChanged] = []
    for number in (2000, 3000):
        outbox = open_outbox(directory, clock)
        outbox.put(event(number))
        assert 0 <= outbox.newest < 2**52
        if number == 2000 and chance.random() < 0.5:
            clock.advance(10)
            outbox.tick()
        delivered += deliver(outbox)
        clock.advance(10)
        outbox.tick()
        assert len(outbox) == 0
        outbox.close()
    assert [each for each in delivered if each.seq >= 2000] == [event(2000), event(3000)]
    assert all(each == event(each.seq) for each in delivered)
    lost = expected - {each.seq for each in delivered}
    assert not lost, f"{len(lost)} events that SQLite could read are not delivered"


def _texts(changed: LabelChanged) -> tuple[bytes, bytes]:
    return changed.from_label.encode(), changed.to_label.encode()


def many_cases(tmp_path: Path, count: int) -> None:
    killed_agent(tmp_path / "pristine")
    for number in range(count):
        try:
            one_case(random.Random(number), tmp_path / "pristine", tmp_path / "case")
        except BaseException as error:
            error.add_note(f"the chance was random.Random({number})")
            raise
        for name in ("case", "case-copy"):
            shutil.rmtree(tmp_path / name)


def test_random_damage_costs_nothing_that_is_whole(tmp_path: Path) -> None:
    many_cases(tmp_path, 20)


@pytest.mark.attack
def test_random_damage_two_thousand_times(tmp_path: Path) -> None:
    many_cases(tmp_path, 2000)


@pytest.mark.parametrize("writable", [False, True], ids=["nothing can be written", "all can be written"])
def test_threads_at_work_do_not_disturb_each_other(tmp_path: Path, writable: bool) -> None:
    """The pipeline puts, the publisher delivers and tidies up, the main thread asks for numbers."""
    directory = tmp_path / "outbox"
    if not writable:
        directory.write_text("a file where the directory should be")
    clock = FakeClock()
    limits = OutboxLimits(max_rows=200, max_bytes=10_000_000)
    outbox = Outbox(
        SqliteStore(directory / JOURNAL, durable=False),
        SqliteStore(directory / FILE, durable=False),
        limits,
        clock,
        "boot",
    )
    failures: list[BaseException] = []
    stopping = threading.Event()
    delivered: list[int] = []

    def endlessly(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                while not stopping.is_set():
                    work()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def publish() -> None:
        found = outbox.after(delivered[-1] if delivered else -1)
        if found is not None:
            delivered.append(found.seq)
            if found.seq % 3:
                outbox.remove(found.seq)
        clock.now_s += 1.0
        outbox.tick()

    def look() -> None:
        assert outbox.newest >= 0
        assert (len(outbox), outbox.place, outbox.dropped) >= (0, "", 0)

    threads = [endlessly(publish), endlessly(look)]
    for seq in range(1, 3001):
        outbox.put(event(seq))
    stopping.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert delivered == sorted(delivered)
    assert len(outbox) <= 201
    outbox.close()

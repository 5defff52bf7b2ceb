"""Stores of waiting events: SQLite on disk, and memory."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from edge_agent.mqtt.events.row import Row
from edge_agent.mqtt.events.store import MemoryStore, SqliteStore, Store, StoreError


def row(seq: int, label: str = "cat") -> Row:
    return Row(seq, 1.5 * seq, seq % 2 == 0, label, "dög", 0.25, 10.0 * seq, "b" * 36)


@pytest.fixture(params=["memory", "journal", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    return SqliteStore(tmp_path / "new" / "events.sqlite3", durable=request.param == "disk")


def test_rows_come_back_as_they_were_and_in_order(store: Store) -> None:
    assert store.after(-1, 10) == []
    store.add([row(1), row(2)])
    store.add([row(5)])
    assert store.after(-1, 10) == [row(1), row(2), row(5)]
    assert store.after(1, 1) == [row(2)]
    assert store.after(5, 1) == []
    assert store.newest() == 5
    assert store.rows == 3
    assert store.bytes == sum(row(seq).bytes for seq in (1, 2, 5))


def test_removing_counts_what_was_there(store: Store) -> None:
    assert store.remove([1]) == 0
    store.add([row(1), row(2)])
    assert store.remove([1, 3]) == 1
    assert (store.rows, store.bytes) == (1, row(2).bytes)
    assert store.remove([2]) == 1
    assert (store.rows, store.bytes) == (0, 0)


def test_a_seq_that_is_there_already_stays_as_it_is(store: Store) -> None:
    store.add([row(1)])
    store.add([row(1, "other"), row(2)])
    assert store.after(-1, 10) == [row(1), row(2)]
    assert (store.rows, store.bytes) == (2, row(1).bytes + row(2).bytes)


def test_the_file_keeps_rows_for_the_next_process(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "e.sqlite3", durable=True)
    first.add([row(1), row(2)])
    first.close()
    second = SqliteStore(tmp_path / "e.sqlite3", durable=True)
    assert second.rows == 0
    second.load()
    assert (second.rows, second.bytes) == (2, row(1).bytes + row(2).bytes)
    assert second.after(-1, 10) == [row(1), row(2)]


def test_nothing_is_made_on_disk_until_there_is_something_to_keep(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "e.sqlite3", durable=True)
    store.load()
    store.after(-1, 1)
    store.remove([1])
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_two_agents_do_not_share_a_file(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "e.sqlite3", durable=True)
    first.add([row(1)])
    with pytest.raises(StoreError, match=r"e\.sqlite3: another process uses it"):
        SqliteStore(tmp_path / "e.sqlite3", durable=True).load()


@pytest.mark.parametrize("damage", ["not a database", "middle"])
def test_a_damaged_file_is_put_aside_and_named(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "e.sqlite3"
    if damage == "middle":
        good = SqliteStore(file, durable=True)
        good.add([row(seq, "x" * 100) for seq in range(200)])
        good.close()
        content = bytearray(file.read_bytes())
        content[4096:16384] = b"\xff" * 12288
        file.write_bytes(content)
    else:
        file.write_text(damage * 1000)
    store = SqliteStore(file, durable=True)
    with caplog.at_level(logging.ERROR):
        store.load()
    assert "damaged" in caplog.text
    assert f"{file} is damaged" in caplog.text
    assert (tmp_path / "e.sqlite3.damaged").exists()
    store.add([row(1)])
    assert store.after(0, 1) == [row(1)]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"{tmp_path}/file/e"):
        SqliteStore(tmp_path / "file" / "e.sqlite3", durable=True).add([row(1)])


def test_a_full_disk_keeps_what_was_there_and_takes_all_or_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "e.sqlite3", durable=True)
    store.add([row(1)])
    limit_pages(store, 3)
    with pytest.raises(StoreError, match="full"):
        store.add([row(seq, "x" * 1000) for seq in range(2, 100)])
    assert store.after(-1, 10) == [row(1)]
    assert (store.rows, store.bytes) == (1, row(1).bytes)
    limit_pages(store, 1_000_000)
    store.add([row(2)])
    assert store.after(-1, 10) == [row(1), row(2)]


def test_the_size_counted_is_about_the_size_on_disk(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "e.sqlite3", durable=False)
    for first in range(0, 10_000, 500):
        store.add([row(1_000_000 + seq, "Egyptian cat") for seq in range(first, first + 500)])
    counted = store.bytes
    store.close()
    on_disk = (tmp_path / "e.sqlite3").stat().st_size
    assert 0.7 * counted < on_disk < 1.1 * counted


def limit_pages(store: SqliteStore, pages: int) -> None:
    """Make SQLite believe that the disk ends after so many pages."""
    database = store._database
    assert isinstance(database, sqlite3.Connection)
    database.execute(f"PRAGMA max_page_count = {pages}")

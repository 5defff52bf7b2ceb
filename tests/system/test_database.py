"""Whether a SQLite file is to blame for an error."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from edge_agent.system.database import check_structure, is_damage


def opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=0, isolation_level=None)
    database.text_factory = bytes
    return database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "some.sqlite3"
    with contextlib.closing(opened(file)) as database:
        database.execute("CREATE TABLE t (text TEXT NOT NULL)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 50)
    return file


def error_of(path: Path, statement: str) -> Exception:
    with contextlib.closing(opened(path)) as database, pytest.raises(sqlite3.Error) as caught:
        database.execute(statement).fetchall()
    return caught.value


def test_a_whole_file_has_nothing_wrong(path: Path) -> None:
    with contextlib.closing(opened(path)) as database:
        check_structure(database)


def test_a_page_of_rubbish_is_damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    with contextlib.closing(opened(path)) as database, pytest.raises(sqlite3.DatabaseError) as caught:
        check_structure(database)
    assert is_damage(caught.value, path)


def test_what_is_no_database_is_damage(path: Path) -> None:
    path.write_text("no database" * 100)
    assert is_damage(error_of(path, "SELECT * FROM t"), path)


def test_another_process_is_no_damage(path: Path) -> None:
    with contextlib.closing(opened(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert not is_damage(error_of(path, "SELECT * FROM t"), path)


def test_a_full_disk_is_no_damage(path: Path) -> None:
    with contextlib.closing(opened(path)) as database:
        database.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as caught:
            database.execute("INSERT INTO t VALUES (?)", ("x" * 100_000,))
    assert not is_damage(caught.value, path)


def test_a_call_that_makes_no_sense_is_no_damage(path: Path) -> None:
    assert not is_damage(sqlite3.ProgrammingError("wrong thread"), path)

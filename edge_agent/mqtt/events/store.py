"""Stores waiting events: in a SQLite file, or in plain memory where no file can be written."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from edge_agent.mqtt.events.row import COLUMNS, LARGEST_SEQ, OVERHEAD_BYTES, Row, decode
from edge_agent.mqtt.events.salvage import rows_in
from edge_agent.system.database import check_structure, is_damage
from edge_agent.system.files import set_aside
from edge_agent.system.log import say

if TYPE_CHECKING:
    import sqlite3

_CACHE_KB = 64
_BATCH = 500
_LONGEST_VALUE_BYTES = 1_000_000
_MOST_PUT_ASIDE = 100
_SIZE = f"{OVERHEAD_BYTES} + coalesce(length(cast(from_label AS blob)) + length(cast(to_label AS blob)), 0)"
_CREATE = (
    "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, ts_s REAL NOT NULL, synced INTEGER NOT NULL,"
    " from_label TEXT NOT NULL, to_label TEXT NOT NULL, score REAL NOT NULL, monotonic_s REAL NOT NULL,"
    " boot TEXT NOT NULL, crc INTEGER, region TEXT NOT NULL DEFAULT '')"
)
_ADDED_COLUMNS = (("crc", "INTEGER"), ("region", "TEXT NOT NULL DEFAULT ''"))
"""What a file of an older release may lack."""
_INSERT = f"INSERT OR IGNORE INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT_AFTER = f"SELECT {COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
_NEWEST = f"SELECT coalesce(max(seq), 0) FROM events WHERE seq < {LARGEST_SEQ // 2}"
_DELETE = f"DELETE FROM events WHERE seq = ? RETURNING {_SIZE}"
_MEASURE = f"SELECT count(*), coalesce(sum({_SIZE}), 0) FROM events"
_WILD = f"SELECT seq FROM events WHERE seq < 0 OR seq > {LARGEST_SEQ}"
_DAMAGED_COLUMNS = COLUMNS.removesuffix(", region")  # as an older release has made that table
_PUT_ASIDE = (
    f"CREATE TABLE IF NOT EXISTS damaged ({_DAMAGED_COLUMNS})",
    f"INSERT INTO damaged SELECT {_DAMAGED_COLUMNS} FROM events WHERE seq = ?",
    f"DELETE FROM damaged WHERE rowid <= (SELECT max(rowid) FROM damaged) - {_MOST_PUT_ASIDE}",
)
_LOG = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class StoreError(Exception):
    """The store cannot be read or written (a full disk, a read-only one)."""


class Store(Protocol):
    """Rows in the order of their `seq`; every method may raise StoreError."""

    @property
    def rows(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def damaged(self) -> int:
        """How many rows have been given up because they were damaged, since the process started."""
        ...

    def load(self) -> None:
        """Count the rows that were kept before."""
        ...

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows: all of them or, on failure, none. A `seq` that is there already stays as it is."""
        ...

    def after(self, seq: int, limit: int) -> list[Row]:
        """Return at most `limit` rows whose `seq` is greater, oldest first."""
        ...

    def newest(self) -> int:
        """Return the highest `seq`; 0 when there is none."""
        ...

    def remove(self, seqs: Iterable[int]) -> int:
        """Forget rows, and return how many of them there were."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """Rows that last as long as the process."""

    damaged = 0

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._bytes = 0

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def bytes(self) -> int:
        return self._bytes

    def load(self) -> None:
        """Nothing was kept before."""

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.seq not in self._rows:
                self._rows[row.seq] = row
                self._bytes += row.bytes

    def after(self, seq: int, limit: int) -> list[Row]:
        newer = (row for row in self._rows.values() if row.seq > seq)
        return list(itertools.islice(newer, limit))

    def newest(self) -> int:
        return max(self._rows, default=0)

    def remove(self, seqs: Iterable[int]) -> int:
        gone = [row for seq in seqs if (row := self._rows.pop(seq, None)) is not None]
        self._bytes -= sum(row.bytes for row in gone)
        return len(gone)

    def close(self) -> None:
        self._rows.clear()
        self._bytes = 0


class SqliteStore:
    """Rows in a SQLite file with a write-ahead log: a killed process leaves complete transactions.

    With `durable` a power cut does too, at the price of waiting for the disk. The file is opened or created
    when it is first needed. A row that is damaged moves to the table `damaged`; a file that is damaged is set
    aside, and a new one takes its place, with each row that is whole. Used by one thread at a time.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path = path
        self._durable = durable
        self._database: sqlite3.Connection | None = None
        self._rows = 0
        self._bytes = 0
        self._damaged = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def damaged(self) -> int:
        return self._damaged

    def load(self) -> None:
        """Open the file if there is one."""
        if self.path.exists():
            self._use(lambda _: None)

    def add(self, rows: Sequence[Row]) -> None:
        added = self._use(lambda database: _insert(database, rows))
        self._rows += len(added)
        self._bytes += sum(row.bytes for row in added)

    def after(self, seq: int, limit: int) -> list[Row]:
        if self._database is None:
            return []
        return self._use(lambda database: self._sound_after(database, seq, limit))

    def newest(self) -> int:
        if self._database is None:
            return 0
        found = self._use(lambda database: database.execute(_NEWEST).fetchone())
        return int(found[0])

    def remove(self, seqs: Iterable[int]) -> int:
        if self._database is None:
            return 0
        sizes = self._use(lambda database: _delete(database, seqs))
        self._rows -= len(sizes)
        self._bytes -= sum(sizes)
        return len(sizes)

    def close(self) -> None:
        import sqlite3

        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _use(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do something with the database; where damage shows, with a new one. Raises StoreError."""
        import sqlite3

        try:
            try:
                return work(self._connection())
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not is_damage(error, self.path):
                    raise
                return work(self._replace_damaged(error))
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
            raise StoreError(f"{self.path}: {_reason(error)}") from error

    def _sound_after(self, database: sqlite3.Connection, seq: int, limit: int) -> list[Row]:
        """Rows after `seq`; those that are damaged are put aside."""
        import sqlite3

        while True:
            rows: list[Row] = []
            bad: list[int] = []
            for values in database.execute(_SELECT_AFTER, (seq, limit)).fetchall():
                if values[0] <= seq:
                    raise sqlite3.DatabaseError("its rows are not in order")
                seq = values[0]
                row = decode(values)
                if row is None:
                    bad.append(seq)
                else:
                    rows.append(row)
            if bad:
                self._put_aside(database, bad)
                limit = max(limit, _BATCH)
            if rows or not bad:
                return rows

    def _put_aside(self, database: sqlite3.Connection, seqs: Sequence[int]) -> None:
        import sqlite3

        create, insert, forget = _PUT_ASIDE
        with database:
            database.execute(create)
            database.executemany(insert, [(seq,) for seq in seqs])
            sizes = _delete(database, seqs)
            database.execute(forget)
        if len(sizes) < len(seqs):
            raise sqlite3.DatabaseError("its damaged rows cannot be removed")
        self._rows -= len(sizes)
        self._bytes -= sum(sizes)
        self._damaged += len(sizes)
        message = f"{self.path}: damaged events are put aside, into its table `damaged`"
        say(_LOG, logging.ERROR, message, events=len(sizes))

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = self._open()
        return self._database

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        database = sqlite3.connect(self.path, timeout=0, check_same_thread=False)
        try:
            database.text_factory = bytes  # a damaged text is a row's trouble, see `decode`
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE_BYTES)
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # two agents must not share an outbox
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
            database.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
            database.execute(_CREATE)
            present = [column[1] for column in database.execute("PRAGMA table_info(events)")]
            for name, kind in _ADDED_COLUMNS:
                if name.encode() not in present:
                    database.execute(f"ALTER TABLE events ADD COLUMN {name} {kind}")
            check_structure(database)
            self._rows, self._bytes = database.execute(_MEASURE).fetchone()
            if wild := [seq for (seq,) in database.execute(_WILD)]:
                self._put_aside(database, wild)
        except BaseException:
            database.close()
            raise
        return database

    def _replace_damaged(self, damage: Exception) -> sqlite3.Connection:
        """Set the file aside, and make a new one with each row of it that is whole. Raises OSError."""
        self.close()
        _merge_log(self.path)
        aside = set_aside(self.path, "-wal")
        self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)
        database = self._connection()
        found = rows_in(aside)
        while batch := list(itertools.islice(found, _BATCH)):
            whole = [row for row in batch if row is not None]
            _insert(database, whole)
            self._damaged += len(batch) - len(whole)
        self._rows, self._bytes = database.execute(_MEASURE).fetchone()
        say(
            _LOG,
            logging.ERROR,
            f"{self.path} is damaged ({damage}): it is kept as {aside.name}, and a new file takes its place",
            events_saved=self._rows,
            events_damaged=self._damaged,
        )
        return database


def _insert(database: sqlite3.Connection, rows: Sequence[Row]) -> list[Row]:
    with database:
        return [row for row in rows if database.execute(_INSERT, row.values()).rowcount]


def _delete(database: sqlite3.Connection, seqs: Iterable[int]) -> list[int]:
    """Delete rows, and return their sizes."""
    with database:
        return [size for seq in seqs for (size,) in database.execute(_DELETE, (seq,)).fetchall()]


def _merge_log(path: Path) -> None:
    """Bring what the write-ahead log of a damaged file holds into the file, if SQLite still can."""
    import sqlite3

    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
        database = sqlite3.connect(path, timeout=0)
        with contextlib.closing(database):
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _reason(error: Exception) -> str:
    import sqlite3

    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return "another process uses it; does a second agent run?"
    return str(error)

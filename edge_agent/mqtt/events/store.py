"""Stores waiting events: in a SQLite file, or in plain memory where no file can be written."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge_agent.system.log import say

if TYPE_CHECKING:
    import sqlite3

ROW_OVERHEAD_BYTES = 80
"""Size of a row on disk without its labels, page overhead included: measured on 10,000 rows."""

_CACHE_KB = 64
_COLUMNS = "seq, ts_s, synced, from_label, to_label, score, monotonic_s, boot"
_CREATE = (
    "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, ts_s REAL NOT NULL, synced INTEGER NOT NULL,"
    " from_label TEXT NOT NULL, to_label TEXT NOT NULL, score REAL NOT NULL, monotonic_s REAL NOT NULL,"
    " boot TEXT NOT NULL)"
)
_INSERT = f"INSERT OR IGNORE INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT_AFTER = f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
_SELECT_LAST = f"SELECT {_COLUMNS} FROM events ORDER BY seq DESC LIMIT 1"
_DELETE = f"DELETE FROM events WHERE seq = ? RETURNING {_COLUMNS}"
_MEASURE = (
    f"SELECT count(*), coalesce(sum({ROW_OVERHEAD_BYTES} + length(cast(from_label AS blob))"
    " + length(cast(to_label AS blob))), 0) FROM events"
)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A stored event, with what is needed to correct its time."""

    seq: int
    ts_s: float
    synced: bool
    from_label: str
    to_label: str
    score: float
    monotonic_s: float
    """The monotonic clock at the moment `ts_s`."""
    boot: str
    """The boot that this monotonic clock belongs to."""

    @property
    def bytes(self) -> int:
        """Its approximate size on disk."""
        return ROW_OVERHEAD_BYTES + len(self.from_label.encode()) + len(self.to_label.encode())


class StoreError(Exception):
    """The store cannot be read or written (a full disk, a read-only one, damage)."""


class Store(Protocol):
    """Rows in the order of their `seq`; every method may raise StoreError."""

    @property
    def rows(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    def load(self) -> None:
        """Count the rows that were kept before."""
        ...

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows: all of them or, on failure, none. A `seq` that is there already stays as it is."""
        ...

    def after(self, seq: int, limit: int) -> list[Row]:
        """Return at most `limit` rows whose `seq` is greater, oldest first."""
        ...

    def last(self) -> list[Row]:
        """Return the row with the highest `seq`; empty when there is none."""
        ...

    def remove(self, seqs: Iterable[int]) -> int:
        """Forget rows, and return how many of them there were."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """Rows that last as long as the process."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self._rows.values())

    def load(self) -> None:
        """Nothing was kept before."""

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._rows.setdefault(row.seq, row)

    def after(self, seq: int, limit: int) -> list[Row]:
        return [row for row in self._rows.values() if row.seq > seq][:limit]

    def last(self) -> list[Row]:
        return list(self._rows.values())[-1:]

    def remove(self, seqs: Iterable[int]) -> int:
        return sum(self._rows.pop(seq, None) is not None for seq in seqs)

    def close(self) -> None:
        self._rows.clear()


class SqliteStore:
    """Rows in a SQLite file with a write-ahead log: a killed process leaves complete transactions.

    With `durable` a power cut does too, at the price of waiting for the disk. The file is opened or created
    when it is first needed; a damaged one is put aside and a new one created. Used by one thread at a time.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path = path
        self._durable = durable
        self._database: sqlite3.Connection | None = None
        self._rows = 0
        self._bytes = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def bytes(self) -> int:
        return self._bytes

    def load(self) -> None:
        """Open the file if there is one."""
        if self.path.exists():
            self._connection()

    def add(self, rows: Sequence[Row]) -> None:
        added: list[Row] = []
        database = self._connection()
        with self._store_errors(), database:
            added.extend(row for row in rows if database.execute(_INSERT, _values(row)).rowcount)
        self._rows += len(added)
        self._bytes += sum(row.bytes for row in added)

    def after(self, seq: int, limit: int) -> list[Row]:
        return self._select(_SELECT_AFTER, (seq, limit))

    def last(self) -> list[Row]:
        return self._select(_SELECT_LAST, ())

    def remove(self, seqs: Iterable[int]) -> int:
        if self._database is None:
            return 0
        removed: list[Row] = []
        with self._store_errors(), self._database as database:
            for seq in seqs:
                removed.extend(_row(values) for values in database.execute(_DELETE, (seq,)))
        self._rows -= len(removed)
        self._bytes -= sum(row.bytes for row in removed)
        return len(removed)

    def close(self) -> None:
        import sqlite3

        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _select(self, query: str, values: tuple[int, ...]) -> list[Row]:
        if self._database is None:
            return []
        with self._store_errors():
            return [_row(found) for found in self._database.execute(query, values)]

    @contextlib.contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Raises StoreError for an error of SQLite."""
        import sqlite3

        try:
            yield
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _connection(self) -> sqlite3.Connection:
        """Raises StoreError."""
        import sqlite3

        if self._database is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise self._failed(error) from error
                self._database = self._replace_damaged(error)
            except OSError as error:
                raise self._failed(error) from error
        return self._database

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        database = sqlite3.connect(self.path, timeout=0, check_same_thread=False)
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # two agents must not share an outbox
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
            database.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
            database.execute(_CREATE)
            self._rows, self._bytes = database.execute(_MEASURE).fetchone()
        except BaseException:
            database.close()
            raise
        return database

    def _replace_damaged(self, damage: Exception) -> sqlite3.Connection:
        import sqlite3

        aside = self.path.with_name(self.path.name + ".damaged")
        message = (
            f"{self.path} is damaged ({damage}): it is kept as {aside.name}, and a new file takes its place"
        )
        say(_LOG, logging.ERROR, message)
        try:
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self.path.replace(aside)
            return self._open()
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> StoreError:
        import sqlite3

        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self.close()  # damage: the next use opens the file again, and puts it aside
        return StoreError(f"{self.path}: {error}")


_Values = tuple[int, float, int, str, str, float, float, str]


def _values(row: Row) -> _Values:
    return (
        row.seq,
        row.ts_s,
        int(row.synced),
        row.from_label,
        row.to_label,
        row.score,
        row.monotonic_s,
        row.boot,
    )


def _row(values: _Values) -> Row:
    seq, ts_s, synced, from_label, to_label, score, monotonic_s, boot = values
    return Row(seq, ts_s, bool(synced), from_label, to_label, score, monotonic_s, boot)

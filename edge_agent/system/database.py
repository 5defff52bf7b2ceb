"""What a SQLite file may have wrong: whether its content is to blame, and what its structure looks like."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


def is_damage(error: Exception, path: Path) -> bool:
    """Whether the file at `path` is to blame, and not the disk, another process or the caller."""
    import sqlite3

    if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_READONLY:  # a damaged header can be why
        return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return code not in (
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_AUTH,
    )


def check_structure(database: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError where the structure of the file is damaged; texts must come as bytes."""
    import sqlite3

    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != b"ok":
        raise sqlite3.DatabaseError(found.decode("utf-8", "backslashreplace").splitlines()[-1])

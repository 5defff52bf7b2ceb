"""Keeps examples on disk: a SQLite file that is opened when the owner teaches, and closed at once.

So it takes no memory between two lessons, and a command may add examples while the agent runs. Whatever
returns from here is on the disk; a process that is killed, or a power cut, leaves what was there before or
what is there now. The examples of other networks are kept, since their thumbnails can teach the present one.

Every change is a lesson with a number. What a lesson forgets stays in the file, without being an example,
until the lesson can no longer be undone.
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edge_agent.errors import TeachError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import MOST_FEATURES
from edge_agent.system.database import check_structure, is_damage
from edge_agent.system.files import set_aside
from edge_agent.system.log import say
from edge_agent.teach.examples import MOST_THUMBNAIL_BYTES, Example, Feature, Kept
from edge_agent.teach.head import Backbone

if TYPE_CHECKING:
    import sqlite3

STORE_NAME = "examples.sqlite3"
SCHEMA = 1

MOST_ROWS = 1000
"""Of all networks together. For another one, what is kept for undoing goes, then what is oldest of another
network."""
MOST_UNDOS = 10
"""Lessons that can be undone, one after another."""

_MARK = 0x45410000  # in the file's version, above the schema: without it, it is damage and no newer release
_WAIT_S = 5.0  # for another process that writes just now
_PAGE_BYTES = 4096
_MOST_PAGES = 2 * MOST_ROWS * (MOST_THUMBNAIL_BYTES + 2 * MOST_FEATURES) // _PAGE_BYTES
_CACHE_KB = 64
_LONGEST_VALUE_BYTES = 1 << 20
_MOST_GAPS = 2000
_SHELF = 1 << 18
"""Numbers: half a MB, which the allocator maps for itself."""
_COLUMNS = "key, backbone, label, time_s, brightness, burst, taught, gone, feature, seal, thumbnail_crc"
_CREATE = (
    # `taught` and `gone` are the lessons that brought and took an example; of one that is there `gone` is 0.
    "CREATE TABLE IF NOT EXISTS examples (place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL,"
    " backbone TEXT NOT NULL, label TEXT NOT NULL, time_s REAL NOT NULL, brightness REAL NOT NULL,"
    " burst INTEGER NOT NULL, taught INTEGER NOT NULL, gone INTEGER NOT NULL, feature BLOB NOT NULL,"
    " seal INTEGER NOT NULL, thumbnail_crc INTEGER NOT NULL, thumbnail BLOB NOT NULL, UNIQUE (key, gone))",
    "CREATE TABLE IF NOT EXISTS settled (lesson INTEGER NOT NULL)",  # the last that cannot be undone
    "INSERT INTO settled VALUES (0)",
)
_GONE = 1 + _COLUMNS.split(", ").index("gone")  # behind the place
_INSERT = f"INSERT OR IGNORE INTO examples ({_COLUMNS}, thumbnail) VALUES ({', '.join('?' * 12)})"
# With an example of the present network go those that other networks have of the same picture.
_SAME_PICTURE = (
    "SELECT other.place FROM examples one JOIN examples other ON one.label = other.label"
    " AND one.time_s = other.time_s AND one.brightness = other.brightness"
    " AND (one.key = other.key OR one.backbone != other.backbone)"
    " WHERE one.key = ? AND one.gone = 0 AND other.gone = 0"
)
_LOG = logging.getLogger(__name__)

_Result = TypeVar("_Result")

Decide = Callable[[list[Example]], tuple[Sequence[Example], Iterable[str]]]
"""Is given the present examples; returns those to add, and the keys of those to forget."""


class _DamagedRowError(Exception):
    """A row is not what was written."""


@dataclass(frozen=True, slots=True, eq=False)
class Undone:
    """What became of the examples of a lesson that was undone; without thumbnails."""

    gone: list[Example]
    back: list[Example]


class MeanwhileError(TeachError):
    """An example is not there any more, or not as it was a moment ago."""


class ExampleStore:
    """The examples of one camera, in a directory. Every method may raise TeachError."""

    def __init__(self, directory: Path, backbone: Backbone) -> None:
        """Nothing is made on disk before the first example."""
        self.path = directory / STORE_NAME
        self.damage = ""
        """What was found wrong with the file, and where it is kept; empty where nothing was."""
        self._backbone = _name_of(backbone)
        self._unfinished = self.path.with_name(f"{STORE_NAME}.new")
        self._is_checked = False

    def load(self) -> list[Example]:
        """The examples of the present network, in the order in which they came, without thumbnails."""
        if not self._exists():
            return []
        return self._use(self._present)

    @contextlib.contextmanager
    def reading(self) -> Iterator[list[Kept]]:
        """What `load` returns, the features left on disk: they can be read until the context ends.

        Reading one raises MeanwhileError where another process has taken it away since.
        """
        if not self._exists():
            yield []
            return
        import sqlite3

        outlines = self._use(lambda database: _outlines(database, self._backbone))
        try:
            database = self._open()
        except (sqlite3.Error, OSError) as error:
            raise TeachError(f"{self.path}: {_reason(error)}") from error
        with contextlib.closing(database):
            yield _kept(outlines, database, self.path)

    def of_other_networks(self) -> list[Example]:
        """The examples that the present network cannot use, without thumbnails."""
        if not self._exists():
            return []
        return self._use(lambda database: _examples(database, "gone = 0 AND backbone != ?", self._backbone))

    def thumbnail(self, key: str) -> bytes:
        """The JPEG of an example; empty where it has none, or there is no such example."""
        if not self._exists():
            return b""
        return self._use(lambda database: _thumbnail(database, key))

    def add(self, examples: Sequence[Example], gone: Iterable[str] = ()) -> None:
        """Keep examples of the present network, and forget those with the keys `gone`: all of it or nothing.

        An example that is there already stays as it is.
        """
        keys = tuple(gone)
        self.change(lambda _present: (examples, keys))

    def remove(self, keys: Iterable[str]) -> None:
        """Forget examples, of whatever network."""
        if self._exists():
            self.add((), keys)

    def change(self, decide: Decide) -> None:
        """Add and forget what `decide` says, as one lesson: all of it or nothing.

        Nobody else can write in between. `decide` may be called twice, where damage shows meanwhile.
        """
        self._use(lambda database: self._change(database, decide))

    def undo(self) -> Undone | None:
        """Undo the last lesson, as if it had never been; None where there is none that can be undone."""
        return self._use(_undo) if self._exists() else None

    def relearn(self, examples: Sequence[tuple[str, Example]]) -> None:
        """Keep examples of the present network, each with the key of another network's that it was made of.

        That is no lesson: each belongs to the lesson of the one that it was made of. One whose origin has
        gone meanwhile is left out.
        """
        self._use(lambda database: self._relearn(database, examples))

    def counts(self) -> dict[str, int]:
        """How many examples of the present network each label has; their features are not read."""
        if not self._exists():
            return {}
        query = "SELECT label, count(*) FROM examples WHERE gone = 0 AND backbone = ? GROUP BY label"
        found = self._use(lambda database: database.execute(query, (self._backbone,)).fetchall())
        return {label.decode(): int(count) for label, count in found}

    def keys(self) -> frozenset[str]:
        """The keys of the examples of the present network; their features are not read."""
        if not self._exists():
            return frozenset()
        query = "SELECT key FROM examples WHERE gone = 0 AND backbone = ?"
        found = self._use(lambda database: database.execute(query, (self._backbone,)).fetchall())
        return frozenset(key.decode() for (key,) in found)

    def _present(self, database: sqlite3.Connection) -> list[Example]:
        return _examples(database, "gone = 0 AND backbone = ?", self._backbone)

    def _change(self, database: sqlite3.Connection, decide: Decide) -> None:
        with database:
            database.execute("BEGIN IMMEDIATE")
            examples, gone = decide(self._present(database))
            keys = tuple(gone)
            if not examples and not keys:
                return
            lesson = max(_last_lesson(database), _settled(database)) + 1
            for key in keys:
                for (place,) in database.execute(_SAME_PICTURE, (key,)).fetchall():
                    _mark(database, place, gone=lesson)
            rows = [_values(each, self._backbone, lesson) for each in examples]
            database.executemany(_INSERT, rows)
            self._make_room(database, lesson)

    def _relearn(self, database: sqlite3.Connection, examples: Sequence[tuple[str, Example]]) -> None:
        query = "SELECT place, taught FROM examples WHERE key = ? AND gone = 0"
        with database:
            database.execute("BEGIN IMMEDIATE")
            for key, example in examples:
                if (found := database.execute(query, (key,)).fetchone()) is None:
                    continue
                place, lesson = found
                if _count(database) >= MOST_ROWS:
                    database.execute("DELETE FROM examples WHERE place = ?", (place,))
                database.execute(_INSERT, _values(example, self._backbone, lesson))

    def _make_room(self, database: sqlite3.Connection, lesson: int) -> None:
        _settle(database, lesson - MOST_UNDOS)
        if _count(database) > MOST_ROWS:
            _settle(database, lesson - 1)
        database.execute(
            "DELETE FROM examples WHERE place IN"
            " (SELECT place FROM examples WHERE backbone != ? ORDER BY place LIMIT ?)",
            (self._backbone, max(_count(database) - MOST_ROWS, 0)),
        )
        if _count(database) > MOST_ROWS:
            raise TeachError(f"{self.path}: there is room for {MOST_ROWS} examples; remove some")

    def _use(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do something with the database; where damage shows, with a new one. Raises TeachError."""
        import sqlite3

        try:
            try:
                with contextlib.closing(self._open()) as database:
                    return work(database)
            except (sqlite3.Error, UnicodeDecodeError, _DamagedRowError) as error:
                if not is_damage(error, self.path):
                    raise
                self._replace_damaged(error)
            with contextlib.closing(self._open()) as database:
                return work(database)
        except (sqlite3.Error, OSError, UnicodeDecodeError, _DamagedRowError) as error:
            raise TeachError(f"{self.path}: {_reason(error)}") from error

    def _exists(self) -> bool:
        """Whether there is a file. One that replaces a damaged one may still have its first name."""
        if not self.path.exists():
            with contextlib.suppress(FileNotFoundError):
                self._unfinished.replace(self.path)
        return self.path.exists()

    def _open(self) -> sqlite3.Connection:
        """Raises sqlite3.Error, OSError, and TeachError for the file of a newer release."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._exists():
            self.path.touch(mode=0o600)  # thumbnails show what the camera sees
        database = _connect(self.path)
        try:
            _check_schema(database, self.path)
            if not self._is_checked:
                check_structure(database)
                self._is_checked = True
        except BaseException:
            database.close()
            raise
        return database

    def _replace_damaged(self, damage: Exception) -> None:
        """Set the file aside, whole, and put a new one there with each example that can still be read."""
        self._is_checked = False
        saved = _save_whole_rows(self.path, self._unfinished)
        aside = set_aside(self.path, "-journal")
        self._unfinished.replace(self.path)
        self.damage = (
            f"{self.path} was damaged ({_reason(damage)}): it is kept as {aside.name}, and the {saved}"
            " examples that could be read are in a new file"
        )
        say(_LOG, logging.ERROR, self.damage)


def _check_schema(database: sqlite3.Connection, path: Path) -> None:
    """Make the table where there is none. Raises sqlite3.Error, and TeachError for a newer release's file."""
    import sqlite3

    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with database:
            database.execute("BEGIN IMMEDIATE")
            for statement in _CREATE:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_MARK + SCHEMA}")
    elif version & ~0xFFFF != _MARK:
        raise sqlite3.DatabaseError("its version is none")
    elif version - _MARK > SCHEMA:
        raise TeachError(f"{path}: written by a newer edge-agent; update this one to use it")


def _connect(path: Path) -> sqlite3.Connection:
    import sqlite3

    database = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        database.text_factory = bytes  # a damaged text is a damaged row, see `_example`
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE_BYTES)
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("PRAGMA synchronous = EXTRA")
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        database.execute(f"PRAGMA max_page_count = {_MOST_PAGES}")
    except BaseException:
        database.close()
        raise
    return database


def _name_of(backbone: Backbone) -> str:
    return f"{backbone.sha256} {backbone.arithmetic} {backbone.features}"


def _undo(database: sqlite3.Connection) -> Undone | None:
    with database:
        database.execute("BEGIN IMMEDIATE")
        lesson = _last_lesson(database)
        if lesson <= _settled(database):
            return None
        gone = _examples(database, "taught = ? AND gone = 0", lesson)
        back = _examples(database, "taught != ? AND gone = ?", lesson, lesson)
        database.execute("DELETE FROM examples WHERE taught = ?", (lesson,))
        places = database.execute("SELECT place FROM examples WHERE gone = ?", (lesson,)).fetchall()
        for (place,) in places:
            _mark(database, place, gone=0)
        return Undone(gone, back)


def _mark(database: sqlite3.Connection, place: int, *, gone: int) -> None:
    """Note by which lesson the example at this place has gone; 0 for one that is there."""
    key, backbone, burst, taught, crc = database.execute(
        "SELECT key, backbone, burst, taught, thumbnail_crc FROM examples WHERE place = ?", (place,)
    ).fetchone()
    seal = _seal(key.decode(), backbone.decode(), burst, taught, gone, crc)
    database.execute("UPDATE examples SET gone = ?, seal = ? WHERE place = ?", (gone, seal, place))


def _last_lesson(database: sqlite3.Connection) -> int:
    """The number of the last lesson that has left something; 0 where there is none."""
    (number,) = database.execute("SELECT max(max(taught, gone)) FROM examples").fetchone()
    return int(number or 0)


def _settled(database: sqlite3.Connection) -> int:
    """The number of the last lesson that cannot be undone."""
    (number,) = database.execute("SELECT max(lesson) FROM settled").fetchone()
    return int(number or 0)


def _settle(database: sqlite3.Connection, lesson: int) -> None:
    """Give up undoing this lesson and those before it, and what was kept for that."""
    database.execute("DELETE FROM examples WHERE gone BETWEEN 1 AND ?", (lesson,))
    database.execute("UPDATE settled SET lesson = max(lesson, ?)", (lesson,))


def _count(database: sqlite3.Connection) -> int:
    (count,) = database.execute("SELECT count(*) FROM examples").fetchone()
    return int(count)


def _seal(key: str, backbone: str, burst: int, taught: int, gone: int, thumbnail_crc: int) -> int:
    return zlib.crc32(f"{key} {backbone} {burst} {taught} {gone} {thumbnail_crc}".encode())


def _values(example: Example, backbone: str, lesson: int) -> tuple[object, ...]:
    """What is written, in the order of the columns, the thumbnail last."""
    crc = zlib.crc32(example.thumbnail)
    numbers = (float(example.time_s), float(example.brightness), example.burst, lesson, 0)
    feature = example.feature.astype("<f2").tobytes()
    seal = _seal(example.key, backbone, example.burst, lesson, 0, crc)
    return (example.key, backbone, example.label, *numbers, feature, seal, crc, example.thumbnail)


class _Shelf:
    """Keeps features side by side in large blocks, which the system gets back whole when they are let go.

    One by one they would lie between what stays, and their memory would never be free again.
    """

    def __init__(self) -> None:
        self._left = np.empty(0, np.float16)

    def put(self, feature: bytes) -> Feature:
        """A copy of what was written of a feature. Raises ValueError where it is none."""
        numbers = _numbers(feature)
        if len(numbers) > len(self._left):
            self._left = np.empty(max(len(numbers), _SHELF), np.float16)
        mine, self._left = self._left[: len(numbers)], self._left[len(numbers) :]
        mine[:] = numbers
        return mine


def _numbers(feature: bytes) -> Feature:
    """What was written of a feature, not copied. Raises ValueError where it is none."""
    return np.frombuffer(feature, "<f2")


def _example(values: Sequence[Any], put: Callable[[bytes], Feature]) -> Example:
    """The example in a row of _COLUMNS, without its thumbnail; `put` makes its feature of what was written.

    Raises _DamagedRowError.
    """
    key, backbone, label, time_s, brightness, burst, taught, gone, feature, seal, crc = values
    try:
        example = Example(label.decode(), put(feature), time_s, brightness, burst)
        expected = _seal(example.key, backbone.decode(), burst, taught, gone, crc)
        is_whole = example.key == key.decode() and seal == expected
    except (TeachError, ValueError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise _DamagedRowError("an example in it is not what was written")
    return example


def _examples(database: sqlite3.Connection, condition: str, *arguments: object) -> list[Example]:
    found = database.execute(f"SELECT {_COLUMNS} FROM examples WHERE {condition} ORDER BY place", arguments)
    shelf = _Shelf()
    return [_example(values, shelf.put) for values in found]


@dataclass(frozen=True, slots=True)
class _Outline:
    """A row without its feature."""

    place: int
    label: str
    time_s: float
    brightness: float
    burst: int
    key: str
    feature_crc: int


def _outlines(database: sqlite3.Connection, backbone: str) -> list[_Outline]:
    """Those of the examples of a network, in the order in which they came; each feature is looked at once."""
    found = database.execute(
        f"SELECT place, {_COLUMNS} FROM examples WHERE gone = 0 AND backbone = ? ORDER BY place", (backbone,)
    )
    labels: dict[str, str] = {}  # one text for all of its examples
    outlines = []
    for place, *values in found:
        each = _example(values, _numbers)
        label = labels.setdefault(each.label, each.label)
        crc = zlib.crc32(each.feature.tobytes())
        outlines.append(_Outline(place, label, each.time_s, each.brightness, each.burst, each.key, crc))
    return outlines


def _kept(outlines: Sequence[_Outline], database: sqlite3.Connection, path: Path) -> list[Kept]:
    """Examples whose features are read from the open database."""
    crcs = {each.place: each.feature_crc for each in outlines}

    def read(place: int) -> Feature:
        import sqlite3

        query = "SELECT feature FROM examples WHERE place = ?"
        try:
            rows = database.execute(query, (place,)).fetchall()  # all, or others could not write
        except sqlite3.Error as error:
            raise MeanwhileError(f"{path}: {_reason(error)}") from error
        if not rows or not isinstance(rows[0][0], bytes) or zlib.crc32(rows[0][0]) != crcs[place]:
            raise MeanwhileError(f"{path}: an example has gone while it was learnt from; try again")
        return _numbers(rows[0][0])

    return [Kept(o.label, o.time_s, o.brightness, o.burst, o.key, o.place, read) for o in outlines]


def _thumbnail(database: sqlite3.Connection, key: str) -> bytes:
    values = database.execute(
        "SELECT thumbnail, thumbnail_crc FROM examples WHERE key = ? AND gone = 0", (key,)
    ).fetchone()
    if values is None:
        return b""
    thumbnail, crc = values
    if not isinstance(thumbnail, bytes) or zlib.crc32(thumbnail) != crc:
        raise _DamagedRowError("a thumbnail in it is not what was written")
    return thumbnail


def _save_whole_rows(damaged: Path, path: Path) -> int:
    """Write a new file with what is whole in a damaged one, and return how many examples that is."""
    for ending in ("", "-journal"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    path.touch(mode=0o600)
    with contextlib.closing(_connect(path)) as database:
        _check_schema(database, path)
        with database:
            database.execute("BEGIN")
            return sum(database.execute(_INSERT, values).rowcount for values in _whole_rows(damaged))


def _whole_rows(path: Path) -> Iterator[tuple[object, ...]]:
    """What `_values` gave for each example of a damaged file that is whole; without a thumbnail that is not.

    Undoing is given up.
    """
    import sqlite3

    address = f"{path.absolute().as_uri()}?mode=ro"
    with (
        contextlib.suppress(sqlite3.Error, OSError),
        contextlib.closing(sqlite3.connect(address, uri=True, timeout=0)) as database,
    ):
        database.text_factory = bytes
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE_BYTES)
        database.execute("PRAGMA writable_schema = ON")  # or a file that is cut would be refused altogether
        place, gaps, found, shelf = -1, 0, 0, _Shelf()
        while gaps < _MOST_GAPS and found < MOST_ROWS:
            try:
                values = _next_row(database, place)
            except (sqlite3.Error, UnicodeDecodeError):
                place, gaps = place + 1, gaps + 1
                continue
            if values is None or not isinstance(values[0], int) or values[0] <= place:
                return
            place = values[0]
            with contextlib.suppress(_DamagedRowError):
                example = _example(values[1:], shelf.put)
                if not values[_GONE]:
                    example = replace(example, thumbnail=_saved(database, place, values[-1]))
                    yield _values(example, values[2].decode(), lesson=0)
                    found += 1


def _next_row(database: sqlite3.Connection, place: int) -> tuple[Any, ...] | None:
    query = f"SELECT place, {_COLUMNS} FROM examples NOT INDEXED WHERE place > ? ORDER BY place LIMIT 1"
    row: tuple[Any, ...] | None = database.execute(query, (place,)).fetchone()
    return row


def _saved(database: sqlite3.Connection, place: int, crc: int) -> bytes:
    """The thumbnail of a row of a damaged file, or nothing."""
    import sqlite3

    with contextlib.suppress(sqlite3.Error):
        query = "SELECT thumbnail FROM examples NOT INDEXED WHERE place = ?"
        (thumbnail,) = database.execute(query, (place,)).fetchone() or (b"",)
        if isinstance(thumbnail, bytes) and zlib.crc32(thumbnail) == crc:
            return thumbnail
    return b""


def _reason(error: Exception) -> str:
    import sqlite3

    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return "another process writes to it for long; try again"
    return str(error)

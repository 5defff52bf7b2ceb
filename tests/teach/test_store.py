"""The store of examples: what it has said to keep is there, whatever happens to the process or the file."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import TeachError
from edge_agent.teach.examples import AnyExample, Example, Examples
from edge_agent.teach.store import MOST_ROWS, MOST_UNDOS, STORE_NAME, ExampleStore, MeanwhileError
from tests.teach.worlds import World, backbone

WORLD = World(features=64)
NETWORK = backbone(64)
OTHER = replace(NETWORK, sha256="cd" * 32)
MANY = [
    replace(WORLD.example(label, burst, number), thumbnail=bytes([burst]) * 3000)
    for label in "abc"
    for burst in range(4)
    for number in range(5)
]


def opened(directory: Path) -> ExampleStore:
    return ExampleStore(directory, NETWORK)


def keys(examples: Sequence[AnyExample]) -> list[str]:
    return [each.key for each in examples]


def filled(directory: Path, examples: Sequence[Example] = MANY) -> Path:
    opened(directory).add(examples)
    return directory / STORE_NAME


class TestKeeping:
    def test_examples_come_back_as_they_were_and_in_their_order(self, tmp_path: Path) -> None:
        filled(tmp_path / "state" / "teach")
        store = opened(tmp_path / "state" / "teach")
        read = store.load()
        assert keys(read) == keys(MANY)
        for one, other in zip(read, MANY, strict=True):
            assert (one.label, one.time_s, one.brightness, one.burst) == (
                other.label,
                other.time_s,
                other.brightness,
                other.burst,
            )
            assert np.array_equal(one.feature, other.feature)
            assert one.thumbnail == b""
        assert store.thumbnail(MANY[7].key) == MANY[7].thumbnail
        assert store.load()[-1].key == MANY[-1].key
        assert store.damage == ""

    def test_examples_can_be_read_one_at_a_time_while_others_write(self, tmp_path: Path) -> None:
        filled(tmp_path)
        with opened(tmp_path).reading() as kept:
            opened(tmp_path).remove([MANY[3].key])  # what can be undone is still in the file
            assert keys(kept) == keys(MANY)
            for one, other in zip(kept, MANY, strict=True):
                assert (one.label, one.time_s, one.brightness, one.burst, one.is_night) == (
                    other.label,
                    other.time_s,
                    other.brightness,
                    other.burst,
                    other.is_night,
                )
                assert np.array_equal(one.feature, other.feature)

    def test_an_example_that_has_gone_while_they_are_read_is_said(self, tmp_path: Path) -> None:
        filled(tmp_path, MANY[:3])
        with opened(tmp_path).reading() as kept:
            opened(tmp_path).undo()
            with pytest.raises(MeanwhileError, match="has gone"):
                _ = kept[1].feature

    def test_a_feature_that_is_another_a_moment_later_is_not_learnt_from(self, tmp_path: Path) -> None:
        path = filled(tmp_path, MANY[:3])
        with opened(tmp_path).reading() as kept:
            with contextlib.closing(sqlite3.connect(path)) as database, database:
                database.execute("UPDATE examples SET feature = zeroblob(128) WHERE place = 2")
            assert np.array_equal(kept[0].feature, MANY[0].feature)
            with pytest.raises(MeanwhileError, match="has gone"):
                _ = kept[1].feature

    def test_where_nothing_was_taught_nothing_is_read(self, tmp_path: Path) -> None:
        with opened(tmp_path / "teach").reading() as kept:
            assert kept == []
        assert not (tmp_path / "teach").exists()

    def test_nothing_is_made_before_the_first_example(self, tmp_path: Path) -> None:
        store = opened(tmp_path / "teach")
        assert store.load() == []
        assert store.of_other_networks() == []
        assert store.load() == []
        assert store.thumbnail("none") == b""
        store.remove(["none"])
        assert list(tmp_path.iterdir()) == []

    def test_others_cannot_look_at_the_pictures(self, tmp_path: Path) -> None:
        assert stat.S_IMODE(filled(tmp_path, MANY[:1]).stat().st_mode) == 0o600

    def test_what_was_replaced_and_removed_is_gone(self, tmp_path: Path) -> None:
        store = opened(tmp_path)
        store.add(MANY[:3])
        store.add([MANY[3]], gone=[MANY[0].key])
        store.remove([MANY[1].key, "no such key"])
        assert keys(store.load()) == keys(MANY[2:4])

    def test_an_example_added_twice_is_there_once(self, tmp_path: Path) -> None:
        store = opened(tmp_path)
        store.add(MANY[:2])
        store.add([replace(MANY[0], thumbnail=b"another"), MANY[2]])
        assert keys(store.load()) == keys(MANY[:3])
        assert store.thumbnail(MANY[0].key) == MANY[0].thumbnail

    def test_what_is_read_goes_on_where_it_was(self, tmp_path: Path) -> None:
        examples = Examples()
        for each in MANY[:6]:
            examples.add(each)
        filled(tmp_path, list(examples))
        again = Examples(examples=opened(tmp_path).load())
        assert keys(list(again)) == keys(list(examples))

    def test_two_processes_may_teach(self, tmp_path: Path) -> None:
        one, other = opened(tmp_path), opened(tmp_path)
        one.add(MANY[:1])
        other.add(MANY[1:2])
        assert keys(one.load()) == keys(MANY[:2])


class TestNetworks:
    def test_a_new_network_is_noticed_and_the_old_examples_are_kept(self, tmp_path: Path) -> None:
        filled(tmp_path)
        changed = ExampleStore(tmp_path, OTHER)
        assert changed.load() == []
        assert keys(changed.of_other_networks()) == keys(MANY)
        assert changed.thumbnail(MANY[0].key) == MANY[0].thumbnail
        changed.add([WORLD.example("d", 0, 0)])
        assert len(changed.load()) == 1
        assert keys(opened(tmp_path).load()) == keys(MANY)

    def test_other_arithmetic_is_another_network(self, tmp_path: Path) -> None:
        filled(tmp_path)
        assert ExampleStore(tmp_path, replace(NETWORK, arithmetic="native-fp32")).load() == []

    def test_beyond_the_bound_the_oldest_of_another_network_gives_way(self, tmp_path: Path) -> None:
        filled(tmp_path)
        changed = ExampleStore(tmp_path, OTHER)
        small = World(features=4, rank=4)
        changed.add([small.example("d", 0, number) for number in range(MOST_ROWS - 2)])
        assert keys(changed.of_other_networks()) == keys(MANY[-2:])
        changed.add([small.example("d", 1, number) for number in range(2)])
        with pytest.raises(TeachError, match="room for 1000 examples"):
            changed.add([small.example("d", 2, 0)])
        assert len(changed.load()) == MOST_ROWS


class TestUndoing:
    def test_it_goes_back_so_many_lessons_and_no_further(self, tmp_path: Path) -> None:
        store = opened(tmp_path)
        for each in MANY[: MOST_UNDOS + 2]:
            store.add([each])
        undone = [store.undo() for _ in range(MOST_UNDOS + 1)]
        assert [len(each.gone) for each in undone if each] == [1] * MOST_UNDOS
        assert keys(store.load()) == keys(MANY[:2])
        store.add([MANY[5]])
        assert store.undo() is not None
        assert store.undo() is None

    def test_what_comes_back_is_where_it_was_with_its_thumbnail(self, tmp_path: Path) -> None:
        filled(tmp_path)
        store = opened(tmp_path)
        store.remove(keys(MANY[3:9]))
        assert store.thumbnail(MANY[4].key) == b""
        store.add([MANY[4]])
        assert store.undo() is not None
        undone = store.undo()
        assert undone is not None
        assert keys(undone.back) == keys(MANY[3:9])
        assert keys(store.load()) == keys(MANY)
        assert store.thumbnail(MANY[4].key) == MANY[4].thumbnail

    def test_what_is_kept_for_it_gives_way_to_examples(self, tmp_path: Path) -> None:
        small = World(features=4, rank=4)
        many = [small.example("d", 0, number) for number in range(MOST_ROWS)]
        store = opened(tmp_path)
        store.add(many)
        store.remove(keys(many[:2]))
        assert len(store.load()) == MOST_ROWS - 2
        store.add([small.example("d", 1, 0)])
        assert len(store.load()) == MOST_ROWS - 1
        assert store.undo() is not None
        assert store.undo() is None


class TestTrouble:
    def test_the_file_of_a_newer_release_is_left_alone(self, tmp_path: Path) -> None:
        path = filled(tmp_path)
        with contextlib.closing(sqlite3.connect(path)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            database.execute(f"PRAGMA user_version = {version + 1}")
        before = path.read_bytes()
        with pytest.raises(TeachError, match="newer edge-agent; update"):
            opened(tmp_path).load()
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_a_directory_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(TeachError, match=f"{tmp_path}/file/teach/examples"):
            opened(tmp_path / "file" / "teach").add(MANY[:1])

    def test_a_full_disk_takes_all_or_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = opened(tmp_path)
        store.add(MANY[:1])
        monkeypatch.setattr("edge_agent.teach.store._MOST_PAGES", 12)
        with pytest.raises(TeachError, match="full"):
            store.add(MANY[1:])
        assert keys(store.load()) == keys(MANY[:1])
        assert store.damage == ""

    def test_a_writer_that_never_ends_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = filled(tmp_path)
        monkeypatch.setattr("edge_agent.teach.store._WAIT_S", 0.05)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            with pytest.raises(TeachError, match="another process writes"):
                opened(tmp_path).add([WORLD.example("d", 0, 0)])
        assert keys(opened(tmp_path).load()) == keys(MANY)


def check_damaged(directory: Path, damaged: bytes) -> int:
    """A store that was damaged goes on working, keeps the damaged file, and gives back no wrong example."""
    path = directory / STORE_NAME
    path.write_bytes(damaged)
    whole = {each.key: each for each in MANY}
    store = opened(directory)
    read = store.load()
    pictures = [store.thumbnail(each.key) for each in read]
    again = store.load()
    aside = path.with_name(f"{STORE_NAME}.damaged")
    assert aside.exists() == bool(store.damage)
    for each, picture in zip(read, pictures, strict=True):
        assert np.array_equal(each.feature, whole[each.key].feature)
        assert each.label == whole[each.key].label
        assert picture in (whole[each.key].thumbnail, b"")
    assert keys(again) == keys(read)
    store.add([WORLD.example("new", 0, 0)])
    assert opened(directory).load()[-1].key == WORLD.example("new", 0, 0).key
    return len(read)


def mutated(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    match chance.randrange(4):
        case 0:
            for _ in range(chance.randrange(1, 20)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        case 1:
            page = 4096 * chance.randrange(len(damaged) // 4096)
            damaged[page : page + 4096] = chance.choice([bytes(4096), b"\xff" * 4096, chance.randbytes(4096)])
        case 2:
            del damaged[chance.randrange(len(damaged)) :]
        case _:
            damaged[: chance.randrange(1, 200)] = b""
    return bytes(damaged)


class TestDamage:
    @pytest.mark.parametrize("content", [b"not a database" * 1000, b"SQLite format 3\0", b"\0" * 8192])
    def test_a_file_that_is_none_is_set_aside_whole_and_reported(
        self, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / STORE_NAME
        path.write_bytes(content)
        store = opened(tmp_path)
        store.add(MANY[:1])
        assert keys(opened(tmp_path).load()) == keys(MANY[:1])
        assert path.with_name(f"{STORE_NAME}.damaged").read_bytes() == content
        assert f"{path} was damaged" in store.damage
        assert store.damage in caplog.text

    def test_one_damaged_example_costs_no_other(self, tmp_path: Path) -> None:
        path = filled(tmp_path)
        content = path.read_bytes()
        place = content.index(MANY[7].feature.tobytes())
        damaged = content[: place + 9] + bytes([content[place + 9] ^ 1]) + content[place + 10 :]
        path.write_bytes(damaged)
        store = opened(tmp_path)
        assert keys(store.load()) == keys(MANY[:7] + MANY[8:])
        assert store.thumbnail(MANY[8].key) == MANY[8].thumbnail
        assert path.with_name(f"{STORE_NAME}.damaged").read_bytes() == damaged
        assert "the 59 examples that could be read" in store.damage

    def test_a_damaged_thumbnail_costs_no_feature(self, tmp_path: Path) -> None:
        path = filled(tmp_path, [replace(MANY[0], thumbnail=b"JPEG" * 4000), *MANY[1:]])
        content = path.read_bytes()
        place = content.index(b"JPEG" * 500)
        path.write_bytes(content[:place] + b"jpeg" + content[place + 4 :])
        store = opened(tmp_path)
        assert store.thumbnail(MANY[0].key) == b""
        assert sorted(keys(store.load())) == sorted(keys(MANY))

    def test_a_process_killed_while_it_replaces_a_damaged_file_loses_nothing(self, tmp_path: Path) -> None:
        path = filled(tmp_path)
        path.rename(path.with_name(f"{STORE_NAME}.new"))  # just before the last step
        assert keys(opened(tmp_path).load()) == keys(MANY)
        path.with_name(f"{STORE_NAME}.new").write_bytes(b"half")  # before the last but one
        path.write_bytes(path.read_bytes()[:-4096])
        assert len(opened(tmp_path).load()) > 40

    def test_any_damage(self, tmp_path: Path) -> None:
        print("saved", self.damage(tmp_path, range(24)))

    @pytest.mark.attack
    def test_any_damage_by_the_thousand(self, tmp_path: Path) -> None:
        print("saved", self.damage(tmp_path, range(1000, 1500)))

    def damage(self, tmp_path: Path, seeds: range) -> float:
        """The share of examples that came back."""
        content = filled(tmp_path / "whole").read_bytes()
        saved = 0
        for seed in seeds:
            directory = tmp_path / "damaged"
            directory.mkdir()
            saved += check_damaged(directory, mutated(content, random.Random(seed)))
            shutil.rmtree(directory)
        return saved / len(seeds) / len(MANY)


_WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from edge_agent.teach.store import ExampleStore
from tests.teach.test_store import NETWORK, WORLD

store = ExampleStore(Path(sys.argv[1]), NETWORK)
start = int(sys.argv[2])
for number in range(start, start + 400):
    example = replace(WORLD.example("a", number, 0), thumbnail=bytes(20_000))
    before = [WORLD.example("a", number - 20, 0).key] if number % 3 == 0 and number >= 20 else []
    store.add([example], gone=before)
    print(number, flush=True)
"""


class TestKilled:
    """A real process is killed at any moment while it writes."""

    def run(self, tmp_path: Path, deaths: int) -> None:
        chance = random.Random(deaths)
        start = unfinished = 0
        for _ in range(deaths):
            written = self.killed(tmp_path, start, chance.uniform(0.0, 0.06))
            unfinished += (tmp_path / f"{STORE_NAME}-journal").exists()
            store = opened(tmp_path)
            bursts = [each.burst for each in store.load()]
            assert store.damage == ""
            expected = [n for n in range(written + 1) if (n + 20) % 3 or n + 20 > written]
            following = [*expected, written + 1]
            exchanged = [n for n in following if n != written - 19 or (written + 1) % 3]
            assert bursts in (expected, exchanged), "what was said to be kept is not, or half of a change is"
            start = bursts[-1] + 1
        print(f"{unfinished} of {deaths} deaths were in the middle of a write")

    def killed(self, directory: Path, start: int, after_s: float) -> int:
        """Start a writer, kill it, and return the last number that it has said to be written."""
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(directory), str(start)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = [writer.stdout.readline()]
        with contextlib.suppress(subprocess.TimeoutExpired):
            writer.wait(after_s)
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
        writer.stdout.close()
        writer.wait()
        return max((int(line) for line in said if line.endswith("\n")), default=start - 1)

    def test_what_was_said_to_be_kept_is_there(self, tmp_path: Path) -> None:
        self.run(tmp_path, deaths=3)

    @pytest.mark.fault
    def test_what_was_said_to_be_kept_is_there_after_many_deaths(self, tmp_path: Path) -> None:
        self.run(tmp_path, deaths=60)


def test_a_power_cut_at_any_moment_leaves_before_or_after(tmp_path: Path) -> None:
    """Copies of file and journal, taken while a transaction writes, are opened as after a power cut."""
    path = filled(tmp_path, MANY[:30])
    journal = Path(f"{path}-journal")
    seen = []
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA cache_size = 2")  # so that pages are written before the end
        database.execute("BEGIN IMMEDIATE")
        for number in range(30):
            database.execute(
                "UPDATE examples SET thumbnail = ?, seal = 0 WHERE place = ?", (bytes(9000), number)
            )
            copy = tmp_path / f"copy{number}"
            copy.mkdir()
            shutil.copy(path, copy / path.name)
            if journal.exists():
                shutil.copy(journal, copy / journal.name)
            seen.append(copy)
        database.execute("ROLLBACK")
    for copy in seen:
        store = opened(copy)
        assert keys(store.load()) == keys(MANY[:30])
        assert store.damage == ""

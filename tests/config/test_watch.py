"""The watcher on real files: saved in place, renamed over, taken away, swung by a symbolic link."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import inotify_simple
import pytest

from edge_agent.config.watch import (
    ConfigWatcher,
    FileEvent,
    Inotify,
    Notifier,
    open_inotify,
    signature,
    wait_for_writer,
)
from tests.installed import program

SETTLE_S = 0.05
SOON_S = 10.0  # never reached unless a change is missed
QUIET_S = 0.2
POLL_S = 0.01

NOTIFIERS: dict[str, Callable[[], Notifier | None]] = {"inotify": Inotify, "status alone": lambda: None}


class MainLoop:
    """Waits for a change as the daemon's main thread does, and counts how often that wakes up."""

    def __init__(self, watcher: ConfigWatcher, longest_wait_s: float = POLL_S) -> None:
        self.rounds = 0
        self._watcher = watcher
        self._longest_wait_s = longest_wait_s

    def wait(self, timeout_s: float) -> bool:
        """Whether there was a change within the time."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            self.rounds += 1
            if self._watcher.changed():
                return True
            due_s = self._watcher.due_in_s()
            descriptor = self._watcher.fileno()
            watched = [] if descriptor is None else [descriptor]
            pauses_s = [left_s, self._longest_wait_s, *([] if due_s is None else [due_s])]
            select.select(watched, [], [], min(pauses_s))
        return False


def wait(watcher: ConfigWatcher, timeout_s: float) -> bool:
    """Whether the watcher reports a change within the time."""
    return MainLoop(watcher).wait(timeout_s)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "etc" / "edge-agent.yaml"
    file.parent.mkdir()
    file.write_text("device_id: one\n")
    return file


@pytest.fixture(params=NOTIFIERS)
def watcher(path: Path, request: pytest.FixtureRequest) -> Iterator[ConfigWatcher]:
    made = ConfigWatcher(path, NOTIFIERS[request.param](), settle_s=SETTLE_S)
    yield made
    made.close()


def write_in_place(path: Path) -> None:
    path.write_text("device_id: two\n")


def rename_over(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text("device_id: one\n")
    new.replace(path)


def delete_and_write(path: Path) -> None:
    path.unlink()
    path.write_text("device_id: one\n")


def delete(path: Path) -> None:
    path.unlink()


def replace_the_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("old"))
    path.parent.mkdir()
    path.write_text("device_id: two\n")


def sed(path: Path) -> None:
    subprocess.run(["sed", "-i", "s/one/two/", str(path)], check=True)


def vim(path: Path) -> None:
    command = [program("vim"), "-u", "NONE", "-N", "-es", "-c", "set backup", "-c", "%s/one/two/", "-c", "wq"]
    subprocess.run([*command, str(path)], check=True, stdin=subprocess.DEVNULL)


EDITS = (write_in_place, rename_over, delete_and_write, delete, replace_the_directory, sed, vim)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_every_way_to_save_a_file_is_noticed_once(
    watcher: ConfigWatcher, path: Path, edit: Callable[[Path], None]
) -> None:
    edit(path)
    assert wait(watcher, SOON_S)
    assert not wait(watcher, QUIET_S)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_file_is_still_watched_after_it_was_replaced(
    watcher: ConfigWatcher, path: Path, edit: Callable[[Path], None]
) -> None:
    edit(path)
    assert wait(watcher, SOON_S)
    path.write_text("device_id: three\n")
    assert wait(watcher, SOON_S)
    assert path.read_text() == "device_id: three\n"


def test_nothing_is_reported_of_a_file_that_nobody_touched(watcher: ConfigWatcher, path: Path) -> None:
    (path.parent / "other.yaml").write_text("x")
    path.read_text()
    assert not wait(watcher, QUIET_S)


def test_a_file_that_comes_into_being_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "later" / "edge-agent.yaml"
    watcher = ConfigWatcher(path, open_inotify(), settle_s=SETTLE_S)
    assert not wait(watcher, QUIET_S)
    path.parent.mkdir()
    path.write_text("device_id: one\n")
    assert wait(watcher, SOON_S)
    watcher.close()


def test_a_link_that_is_swung_to_another_version_is_noticed(tmp_path: Path) -> None:
    # As Kubernetes does: the file is a link into `..data`, itself a link that is renamed over.
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "edge-agent.yaml").write_text("device_id: one\n")
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "edge-agent.yaml"
    path.symlink_to("..data/edge-agent.yaml")
    watcher = ConfigWatcher(path, open_inotify(), settle_s=SETTLE_S)
    (tmp_path / "..tmp").symlink_to("v2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    assert wait(watcher, SOON_S)
    (tmp_path / "v2" / "edge-agent.yaml").write_text("device_id: two\n")
    assert wait(watcher, SOON_S)
    watcher.close()


def test_a_file_that_is_still_being_written_is_waited_for(path: Path) -> None:
    watcher = ConfigWatcher(path, open_inotify(), settle_s=0.6)

    def write_slowly() -> None:
        with path.open("w") as file:
            for number in range(10):
                file.write(f"# line {number}\n")
                file.flush()
                time.sleep(0.03)
            file.write("device_id: two\n")

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert wait(watcher, SOON_S)
    assert path.read_text().endswith("device_id: two\n")
    writer.join()
    assert not wait(watcher, QUIET_S)
    watcher.close()


@pytest.mark.parametrize("unlink", [False, True], ids=["in place", "created again"])
def test_a_file_is_left_alone_until_its_writer_closes_it(path: Path, unlink: bool) -> None:
    watcher = ConfigWatcher(path, Inotify(), settle_s=SETTLE_S)
    if unlink:
        path.unlink()
    with path.open("w") as file:
        file.write("device_id:")
        file.flush()
        assert not wait(watcher, 10 * SETTLE_S)
        file.write(" two\n")
    assert wait(watcher, SOON_S)
    assert path.read_text() == "device_id: two\n"
    assert not wait(watcher, QUIET_S)
    watcher.close()


def assert_a_writer_is_waited_for(watcher: ConfigWatcher, path: Path) -> None:
    """A change is seen once the file is closed, and not before; closes the watcher."""
    with path.open("a") as file:
        file.write("source:")
        file.flush()
        assert not wait(watcher, 10 * SETTLE_S)
    assert wait(watcher, SOON_S)
    watcher.close()


def test_a_second_writer_is_waited_for_as_well(path: Path) -> None:
    watcher = ConfigWatcher(path, Inotify(), settle_s=SETTLE_S)
    write_in_place(path)
    assert_a_writer_is_waited_for(watcher, path)


def test_a_writer_that_never_closes_is_not_waited_for_without_end(path: Path) -> None:
    watcher = ConfigWatcher(path, Inotify(), settle_s=SETTLE_S, longest_write_s=0.4)
    with path.open("w") as file:
        file.write("device_id: two\n")
        file.flush()
        started_s = time.monotonic()
        assert wait(watcher, SOON_S)
        assert time.monotonic() - started_s >= 0.4
    watcher.close()


def test_a_writer_of_another_name_of_the_file_is_waited_for(tmp_path: Path, path: Path) -> None:
    other = tmp_path / "other-name.yaml"
    os.link(path, other)
    assert_a_writer_is_waited_for(ConfigWatcher(path, Inotify(), settle_s=SETTLE_S), other)


def test_a_link_that_is_created_is_not_taken_for_a_file_being_written(tmp_path: Path, path: Path) -> None:
    link = tmp_path / "link.yaml"
    watcher = ConfigWatcher(link, Inotify(), settle_s=SETTLE_S)
    link.symlink_to(path)
    assert wait(watcher, SOON_S)
    watcher.close()


def test_a_link_into_a_directory_that_is_a_link_is_followed(tmp_path: Path, path: Path) -> None:
    (tmp_path / "alias").symlink_to(path.parent)
    watcher = ConfigWatcher(tmp_path / "alias" / path.name, Inotify(), settle_s=SETTLE_S)
    assert_a_writer_is_waited_for(watcher, path)


def test_the_descriptor_is_readable_when_there_is_something_to_look_at(path: Path) -> None:
    watcher = ConfigWatcher(path, Inotify(), settle_s=SETTLE_S)
    descriptor = watcher.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 0)[0] == []
    write_in_place(path)
    assert select.select([descriptor], [], [], SOON_S)[0] == [descriptor]
    assert wait(watcher, SOON_S)
    assert select.select([descriptor], [], [], 0)[0] == []
    watcher.close()


def test_looking_empties_the_descriptor_whatever_there_is_in_it(path: Path) -> None:
    watcher = ConfigWatcher(path, Inotify())
    descriptor = watcher.fileno()
    assert descriptor is not None
    for number in range(200):
        (path.parent / f"other{number}").write_text("x")
    write_in_place(path)
    assert not watcher.changed()
    assert select.select([descriptor], [], [], 0)[0] == []
    watcher.close()


def test_after_an_edit_the_main_loop_goes_back_to_sleep(path: Path) -> None:
    watcher = ConfigWatcher(path, Inotify(), settle_s=SETTLE_S)
    loop = MainLoop(watcher, longest_wait_s=0.5)
    for edit in (write_in_place, rename_over, delete_and_write):
        edit(path)
        assert loop.wait(SOON_S)
    loop.rounds = 0
    started_s = time.thread_time()
    assert not loop.wait(2.0)
    assert loop.rounds <= 6  # four of them for the longest wait alone
    assert time.thread_time() - started_s < 0.2
    watcher.close()


def test_files_beside_it_wake_the_main_loop_no_more_often_than_they_are_saved(path: Path) -> None:
    watcher = ConfigWatcher(path, Inotify(), settle_s=SETTLE_S)
    loop = MainLoop(watcher, longest_wait_s=0.5)

    def write_beside() -> None:
        with (path.parent / "log").open("a") as log:
            for _ in range(1000):
                log.write("a line\n")
                log.flush()
                time.sleep(0.0005)
        for number in range(10):
            (path.parent / f"other{number}.yaml").write_text("x")
            time.sleep(0.01)

    writer = threading.Thread(target=write_beside)
    writer.start()
    assert not loop.wait(3.0)
    writer.join()
    assert loop.rounds <= 6 + 2 * 11  # a file is created, and closed
    watcher.close()


def test_watching_leaves_no_descriptor_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        watcher = ConfigWatcher(path, Inotify(), settle_s=SETTLE_S)
        assert not watcher.changed()
        watcher.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_without_an_inotify_instance_the_status_alone_decides(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(**_: bool) -> None:
        raise OSError(24, "too many inotify instances")

    monkeypatch.setattr(inotify_simple, "INotify", none_left)
    assert_the_status_alone_decides(path)


def test_without_the_library_the_status_alone_decides(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inotify_simple", None)
    assert_the_status_alone_decides(path)


def assert_the_status_alone_decides(path: Path) -> None:
    notifier = open_inotify()
    assert notifier is None
    watcher = ConfigWatcher(path, notifier, settle_s=SETTLE_S)
    assert watcher.fileno() is None
    write_in_place(path)
    assert wait(watcher, SOON_S)
    watcher.close()


class Script:
    """A notifier and a clock in one, for a watcher in a time of its own."""

    def __init__(self, path: Path) -> None:
        self.now_s = 0.0
        self.watched: tuple[Path, frozenset[Path]] | None = None
        self.watcher = ConfigWatcher(path, self, settle_s=0.5, longest_write_s=30, clock=lambda: self.now_s)
        self._happened: list[FileEvent] = []

    def watch(self, file: Path, directories: frozenset[Path]) -> None:
        self.watched = (file, directories)

    def events(self) -> list[FileEvent]:
        happened, self._happened = self._happened, []
        return happened

    def fileno(self) -> int:
        return -1

    def close(self) -> None: ...

    def happen(self, *events: FileEvent) -> None:
        self._happened += events

    def changed_at(self, now_s: float) -> bool:
        self.now_s = now_s
        return self.watcher.changed()


def test_a_change_is_reported_when_it_has_settled(path: Path) -> None:
    script = Script(path)
    assert script.watcher.due_in_s() is None
    write_in_place(path)
    assert not script.changed_at(3.0)
    assert script.watcher.due_in_s() == 0.5
    assert not script.changed_at(3.4)
    assert script.watcher.due_in_s() == pytest.approx(0.1)
    assert script.changed_at(3.5)
    assert script.watcher.due_in_s() is None
    assert not script.changed_at(9.0)


def test_each_further_write_lets_it_wait_again(path: Path) -> None:
    script = Script(path)
    for number in range(4):
        script.happen(FileEvent(path, is_open=False))
        assert not script.changed_at(1 + 0.4 * number)
    assert not script.changed_at(2.6)
    assert script.changed_at(2.7)


def test_a_write_that_the_file_s_times_do_not_show_is_believed_to_the_notifier(path: Path) -> None:
    script = Script(path)
    script.happen(FileEvent(path, is_open=False))
    assert not script.changed_at(0.1)
    assert script.changed_at(0.6)


def test_an_open_file_is_due_when_its_writer_s_time_is_up(path: Path) -> None:
    script = Script(path)
    script.happen(FileEvent(path, is_open=True))
    assert not script.changed_at(1.0)
    assert script.watcher.due_in_s() == 30
    script.happen(FileEvent(path, is_open=True))
    assert not script.changed_at(30.9)
    assert script.watcher.due_in_s() == pytest.approx(0.5)  # for the write just now
    assert script.changed_at(31.4)


def test_a_file_beside_it_changes_nothing(path: Path) -> None:
    script = Script(path)
    script.happen(FileEvent(path.with_name("other"), is_open=True))
    assert not script.changed_at(1.0)
    assert script.watcher.due_in_s() is None


def test_the_file_and_the_directories_of_the_link_and_of_the_file_are_watched(
    tmp_path: Path, path: Path
) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    assert Script(link).watched == (path, frozenset((tmp_path, path.parent)))


def test_a_file_that_nobody_writes_is_not_waited_for(path: Path) -> None:
    wait_for_writer(path, sleep=unexpected_sleep)
    wait_for_writer(path.with_name("gone"), sleep=unexpected_sleep)


def unexpected_sleep(_seconds: float) -> None:
    raise AssertionError("nobody writes the file")


def test_a_writer_is_waited_for_until_it_has_closed_the_file(path: Path) -> None:
    with ExitStack() as stack:
        writing = stack.enter_context(path.open("w"))
        sleeps: list[float] = []

        def sleep(seconds: float) -> None:
            sleeps.append(seconds)
            if len(sleeps) == 3:
                writing.close()

        wait_for_writer(path, sleep=sleep)
    assert len(sleeps) == 3


def test_a_writer_that_never_closes_the_file_is_waited_for_no_longer_than_the_limit(path: Path) -> None:
    now_s = [0.0]
    with path.open("w"):
        wait_for_writer(
            path,
            longest_s=30.0,
            clock=lambda: now_s[0],
            sleep=lambda seconds: now_s.__setitem__(0, now_s[0] + seconds),
        )
    assert now_s[0] == pytest.approx(30.0, abs=0.1)


@pytest.mark.parametrize(("age_s", "waits"), [(0.0, True), (60.0, False), (-3600.0, False)])
def test_where_writers_cannot_be_known_only_a_new_file_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, age_s: float, waits: bool
) -> None:
    def not_the_owner(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr("fcntl.fcntl", not_the_owner)
    written_s = time.time() - age_s
    os.utime(path, (written_s, written_s))
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        os.utime(path, (0, 0))

    wait_for_writer(path, sleep=sleep)
    assert bool(sleeps) is waits


@pytest.mark.parametrize("notifier", NOTIFIERS)
def test_a_change_since_the_file_was_read_is_noticed(path: Path, notifier: str) -> None:
    seen = signature(path)
    path.write_text("device_id: two\n")
    watcher = ConfigWatcher(path, NOTIFIERS[notifier](), settle_s=SETTLE_S, seen=seen)
    assert wait(watcher, SOON_S)
    watcher.close()

"""The watcher on real files: saved in place, renamed over, taken away, swung by a symbolic link."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.config import watch
from edge_agent.config.watch import ConfigWatcher, Inotify, Notifier, Polling, open_notifier

DEBOUNCE_S = 0.05
SOON_S = 10.0  # never reached unless a change is missed
QUIET_S = 0.2

NOTIFIERS: dict[str, Callable[[], Notifier]] = {
    "inotify": Inotify,
    "polling": lambda: Polling(sleep=lambda pause_s: time.sleep(min(pause_s, 0.01))),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "etc" / "edge-agent.yaml"
    file.parent.mkdir()
    file.write_text("device_id: one\n")
    return file


@pytest.fixture(params=NOTIFIERS)
def watcher(path: Path, request: pytest.FixtureRequest) -> Iterator[ConfigWatcher]:
    made = ConfigWatcher(path, DEBOUNCE_S, NOTIFIERS[request.param]())
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
    if shutil.which("vim") is None:
        pytest.skip("vim is not installed")
    command = ["vim", "-u", "NONE", "-N", "-es", "-c", "set backup", "-c", "%s/one/two/", "-c", "wq"]
    subprocess.run([*command, str(path)], check=True, stdin=subprocess.DEVNULL)


EDITS = (write_in_place, rename_over, delete_and_write, delete, replace_the_directory, sed, vim)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_every_way_to_save_a_file_is_noticed_once(
    watcher: ConfigWatcher, path: Path, edit: Callable[[Path], None]
) -> None:
    edit(path)
    assert watcher.wait(SOON_S)
    assert not watcher.wait(QUIET_S)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_file_is_still_watched_after_it_was_replaced(
    watcher: ConfigWatcher, path: Path, edit: Callable[[Path], None]
) -> None:
    edit(path)
    assert watcher.wait(SOON_S)
    path.write_text("device_id: three\n")
    assert watcher.wait(SOON_S)
    assert path.read_text() == "device_id: three\n"


def test_nothing_is_reported_of_a_file_that_nobody_touched(watcher: ConfigWatcher, path: Path) -> None:
    (path.parent / "other.yaml").write_text("x")
    path.read_text()
    assert not watcher.wait(QUIET_S)


def test_a_file_that_comes_into_being_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "later" / "edge-agent.yaml"
    watcher = ConfigWatcher(path, DEBOUNCE_S)
    assert not watcher.wait(QUIET_S)
    path.parent.mkdir()
    path.write_text("device_id: one\n")
    assert watcher.wait(SOON_S)
    watcher.close()


def test_a_link_that_is_swung_to_another_version_is_noticed(tmp_path: Path) -> None:
    # As Kubernetes does: the file is a link into `..data`, itself a link that is renamed over.
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "edge-agent.yaml").write_text("device_id: one\n")
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "edge-agent.yaml"
    path.symlink_to("..data/edge-agent.yaml")
    watcher = ConfigWatcher(path, DEBOUNCE_S)
    (tmp_path / "..tmp").symlink_to("v2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    assert watcher.wait(SOON_S)
    (tmp_path / "v2" / "edge-agent.yaml").write_text("device_id: two\n")
    assert watcher.wait(SOON_S)
    watcher.close()


def test_a_file_that_is_still_being_written_is_waited_for(path: Path) -> None:
    watcher = ConfigWatcher(path, debounce_s=0.6)

    def write_slowly() -> None:
        with path.open("w") as file:
            for number in range(10):
                file.write(f"# line {number}\n")
                file.flush()
                time.sleep(0.03)
            file.write("device_id: two\n")

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert watcher.wait(SOON_S)
    assert path.read_text().endswith("device_id: two\n")
    writer.join()
    assert not watcher.wait(QUIET_S)
    watcher.close()


def test_the_descriptor_is_readable_when_there_is_something_to_look_at(path: Path) -> None:
    watcher = ConfigWatcher(path, DEBOUNCE_S, Inotify())
    descriptor = watcher.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 0)[0] == []
    write_in_place(path)
    assert select.select([descriptor], [], [], SOON_S)[0] == [descriptor]
    assert watcher.wait(SOON_S)
    assert select.select([descriptor], [], [], 0)[0] == []
    watcher.close()


def test_watching_leaves_no_descriptor_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        watcher = ConfigWatcher(path, DEBOUNCE_S, Inotify())
        watcher.wait(0)
        watcher.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_without_inotify_the_file_is_polled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> Notifier:
        raise OSError(24, "too many inotify instances")

    monkeypatch.setattr(watch, "Inotify", none_left)
    assert isinstance(open_notifier(), Polling)
    watcher = ConfigWatcher(path, DEBOUNCE_S)
    assert watcher.fileno() is None
    write_in_place(path)
    assert watcher.wait(SOON_S)
    watcher.close()


class Script:
    """A notifier and a clock in one: each `wait` passes its time, and does what the script says meanwhile."""

    def __init__(self, *steps: tuple[float, Callable[[], None]]) -> None:
        self.now_s = 0.0
        self._steps = list(steps)
        self.watched: frozenset[Path] = frozenset()

    def clock(self) -> float:
        return self.now_s

    def watch(self, directories: frozenset[Path]) -> None:
        self.watched = directories

    def wait(self, timeout_s: float) -> frozenset[str]:
        until_s = self.now_s + timeout_s
        if self._steps and self._steps[0][0] <= until_s:
            at_s, step = self._steps.pop(0)
            self.now_s = max(at_s, self.now_s)
            step()
            return frozenset({"edge-agent.yaml"})
        self.now_s = until_s
        return frozenset()

    def fileno(self) -> int | None:
        return None

    def close(self) -> None: ...


def scripted(path: Path, *steps: tuple[float, Callable[[], None]]) -> tuple[ConfigWatcher, Script]:
    script = Script(*steps)
    return ConfigWatcher(path, debounce_s=0.5, notifier=script, clock=script.clock), script


def test_a_change_is_reported_when_it_has_settled(path: Path) -> None:
    watcher, script = scripted(path, (3.0, lambda: write_in_place(path)))
    assert watcher.wait(60)
    assert script.now_s == 3.5


def test_each_further_write_lets_it_wait_anew(path: Path) -> None:
    steps = [(1 + 0.4 * number, lambda: write_in_place(path)) for number in range(4)]
    watcher, script = scripted(path, *steps)
    assert watcher.wait(60)
    assert script.now_s == pytest.approx(1 + 3 * 0.4 + 0.5)


def test_a_wait_that_ends_before_the_file_has_settled_loses_nothing(path: Path) -> None:
    watcher, script = scripted(path, (0.9, lambda: write_in_place(path)))
    assert not watcher.wait(1.0)
    assert script.now_s == 1.0
    assert watcher.wait(1.0)
    assert script.now_s == 1.4


def test_a_write_that_the_file_s_times_do_not_show_is_believed_to_the_notifier(path: Path) -> None:
    watcher, _ = scripted(path, (0.1, lambda: None))
    assert watcher.wait(1.0)


def test_the_directories_of_the_link_and_of_the_file_are_watched(tmp_path: Path, path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    _, script = scripted(link)
    assert script.watched == {tmp_path, path.parent}

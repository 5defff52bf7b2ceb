"""Small files: read where there is one, written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edge_agent.system.files import exchange, read_or_empty, sync, write_atomic


def test_the_folder_is_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "state" / "file.json"
    write_atomic(path, "one")
    write_atomic(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert list(path.parent.iterdir()) == [path]


def test_the_mode_is_the_one_asked_for(tmp_path: Path) -> None:
    write_atomic(tmp_path / "secret", "x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text(encoding="utf-8") == "old"


def test_a_file_and_a_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"new")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    sync(tmp_path / "file")
    sync(tmp_path)
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "none")


def test_a_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    assert read_or_empty(tmp_path / "none") == ""
    assert read_or_empty(tmp_path) == ""
    (tmp_path / "file").write_bytes(b"caf\xe9")
    assert read_or_empty(tmp_path / "file") == "caf�"


def test_a_link_planted_for_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "file.new").symlink_to(victim)
    write_atomic(tmp_path / "file", "new")
    assert victim.read_text() == "mine"
    assert (tmp_path / "file").read_text() == "new"
    assert not (tmp_path / "file").is_symlink()


def test_a_hard_link_and_a_pipe_planted_there_are_not_written_to(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "a.new").hardlink_to(victim)
    os.mkfifo(tmp_path / "b.new")
    write_atomic(tmp_path / "a", "new")
    write_atomic(tmp_path / "b", "new")
    assert victim.read_text() == "mine"
    assert (tmp_path / "b").read_text() == "new"


def test_a_link_in_the_place_of_the_file_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "file").symlink_to(victim)
    write_atomic(tmp_path / "file", "new")
    assert victim.read_text() == "mine"


def test_two_folders_exchange_their_names(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one/file").read_text() == "other"
    assert (tmp_path / "other/file").read_text() == "one"
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "nowhere")

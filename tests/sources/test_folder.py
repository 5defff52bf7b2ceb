"""Folders of real picture files as a source."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.sources import Source
from edge_agent.sources.folder import FolderSource
from tests.sources.helpers import BLUE, GREEN, RED, open_files, plain_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures whose order by name is red, green, blue."""
    plain_picture(tmp_path / "b.png", GREEN)
    plain_picture(tmp_path / "a.jpg", RED)
    plain_picture(tmp_path / "c.webp", BLUE)
    (tmp_path / "readme.txt").write_text("not a picture")
    return tmp_path


def opened(path: Path, *, loop: bool = False) -> FolderSource:
    source = FolderSource(path, loop=loop)
    source.open()
    return source


def rest_of(source: Source) -> Iterator[Frame]:
    while (frame := source.read()) is not None:
        yield frame


def test_pictures_come_in_the_order_of_their_names(folder: Path) -> None:
    assert [frame.name for frame in rest_of(opened(folder))] == ["a.jpg", "b.png", "c.webp"]


def test_a_folder_played_once_ends_and_stays_ended(folder: Path) -> None:
    source = opened(folder)
    assert len(list(rest_of(source))) == 3
    assert source.read() is None


def test_frames_are_numbered_and_timed(folder: Path) -> None:
    ticks = iter([10.0, 10.5, 20.0, 20.25])
    source = FolderSource(folder, loop=False, clock=lambda: next(ticks))
    source.open()
    first, second = source.read(), source.read()
    assert first is not None
    assert (first.id, first.captured_s, first.capture_ms) == (1, 10.5, 500)
    assert second is not None
    assert (second.id, second.captured_s, second.capture_ms) == (2, 20.25, 250)


def test_a_loop_starts_again_and_numbers_on(folder: Path) -> None:
    source = opened(folder, loop=True)
    played = [source.read() for _ in range(7)]
    assert [frame.name for frame in played if frame] == ["a.jpg", "b.png", "c.webp"] * 2 + ["a.jpg"]
    assert [frame.id for frame in played if frame] == [1, 2, 3, 4, 5, 6, 7]


def test_each_round_of_a_loop_sees_new_and_removed_pictures(folder: Path) -> None:
    source = opened(folder, loop=True)
    for _ in range(3):
        source.read()
    (folder / "a.jpg").unlink()
    plain_picture(folder / "d.png")
    assert [frame.name for frame in (source.read() for _ in range(3)) if frame] == [
        "b.png",
        "c.webp",
        "d.png",
    ]


def test_reopening_begins_with_the_first_picture_and_numbers_on(folder: Path) -> None:
    source = opened(folder)
    source.read()
    source.close()
    source.open()
    frame = source.read()
    assert frame is not None
    assert (frame.id, frame.name) == (2, "a.jpg")


def test_damaged_pictures_are_skipped_and_reported_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = (folder / "a.jpg").read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    source = opened(folder, loop=True)
    with caplog.at_level(logging.WARNING):
        names = [frame.name for frame in (source.read() for _ in range(6)) if frame]
    assert names == ["a.jpg", "c.webp"] * 3
    assert [record.getMessage().count("b.png") for record in caplog.records] == [1]


def test_a_picture_that_goes_away_while_playing_is_skipped(folder: Path) -> None:
    source = opened(folder)
    (folder / "b.png").unlink()
    assert [frame.name for frame in rest_of(source)] == ["a.jpg", "c.webp"]


@pytest.mark.parametrize("loop", [True, False])
def test_a_folder_of_which_nothing_can_be_read_is_an_error_and_no_endless_loop(
    tmp_path: Path, loop: bool
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(SourceError, match="none of the 2 pictures"):
        opened(tmp_path, loop=loop).read()


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no JPEG, PNG, WebP or BMP pictures"):
        opened(tmp_path)


def test_a_missing_folder_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none: No such file or directory; check source\.folder\.path"):
        opened(tmp_path / "none")


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(SourceError, match="Not a directory"):
        opened(folder / "a.jpg")


def test_a_folder_that_goes_away_fails_at_the_next_round(folder: Path) -> None:
    source = opened(folder, loop=True)
    for _ in range(3):
        source.read()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(SourceError, match="cannot list the folder"):
        source.read()


def test_the_folder_is_named_in_the_description(folder: Path) -> None:
    source = FolderSource(folder, loop=False, live=True)
    assert source.description == f"folder {folder}"
    assert source.live
    assert not FolderSource(folder, loop=False).live


def test_a_thousand_reopenings_leave_no_file_open(folder: Path) -> None:
    source = opened(folder)
    source.read()
    before = open_files()
    for _ in range(1000):
        source.close()
        source.open()
        source.read()
    assert open_files() == before

"""Folders of real picture files as a source."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from edge_agent.errors import SourceError
from edge_agent.frame import Frame
from edge_agent.sources import Source
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.picture_header import PictureHeader, read_header
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
    assert source.damaged == 2  # not in the first round, where it might have been unfinished


def test_a_picture_that_breaks_its_reader_is_skipped_like_a_damaged_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(file: BinaryIO) -> PictureHeader:
        header = read_header(file)
        if header.format == "PNG":
            raise OverflowError("an answer that no test of the reader has foreseen")
        return header

    monkeypatch.setattr("edge_agent.sources.picture.read_header", fragile)
    source = opened(folder, loop=True)
    assert [frame.name for frame in (source.read() for _ in range(4)) if frame] == ["a.jpg", "c.webp"] * 2


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
    assert open_files() <= before  # garbage of other tests may go meanwhile


def test_pictures_in_folders_below_are_played_where_that_is_asked_for(folder: Path) -> None:
    for name in ("2024-05-02/noon", "2024-05-01", ".trash"):
        (folder / name).mkdir(parents=True)
        plain_picture(folder / name / "x.jpg")
    source = FolderSource(folder, loop=True, recursive=True)
    source.open()
    names = [frame.name for frame in (source.read() for _ in range(10)) if frame]
    once = ["a.jpg", "b.png", "c.webp", "2024-05-01/x.jpg", "2024-05-02/noon/x.jpg"]
    assert names == once * 2
    assert [frame.name for frame in rest_of(opened(folder))] == ["a.jpg", "b.png", "c.webp"]


def test_a_folder_with_pictures_in_its_folders_alone_says_which_setting_plays_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "2024" / "05").mkdir(parents=True)
    plain_picture(tmp_path / "2024" / "05" / "x.jpg")
    with pytest.raises(SourceError, match=r"set source\.folder\.recursive: true"):
        opened(tmp_path)


def test_links_that_lead_in_a_circle_do_no_harm(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "again").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    plain_picture(folder / "below" / "d.jpg")
    source = FolderSource(folder, loop=False, recursive=True)
    source.open()
    assert [frame.name for frame in rest_of(source)] == ["a.jpg", "b.png", "c.webp", "below/d.jpg"]


def test_a_snapshot_that_is_overwritten_in_place_is_no_failed_source(
    tmp_path: Path, in_thread: Callable[[Callable[[], None]], object], caplog: pytest.LogCaptureFixture
) -> None:
    path = plain_picture(tmp_path / "snapshot.jpg", size=(640, 480))
    content, finished = path.read_bytes(), threading.Event()

    def overwrite() -> None:
        while not finished.wait(0.15):  # whole for a moment, as a camera's snapshot is for much longer
            with path.open("wb", buffering=0) as file:
                for begin in range(0, len(content), len(content) // 4):
                    finished.wait(0.01)
                    file.write(content[begin : begin + len(content) // 4])

    source = opened(tmp_path, loop=True)
    in_thread(overwrite)
    try:
        frames = [source.read() for _ in range(30)]
    finally:
        finished.set()
    assert all(frames)
    assert not caplog.records


def test_a_picture_that_is_never_finished_is_waited_for_a_second_and_no_longer(tmp_path: Path) -> None:
    path = plain_picture(tmp_path / "snapshot.png")
    path.write_bytes(path.read_bytes()[:100])
    slept_s: list[float] = []
    source = FolderSource(tmp_path, loop=True, sleep=slept_s.append)
    source.open()
    with pytest.raises(SourceError, match=r"none of the 1 pictures .*snapshot\.png: it ends too early"):
        source.read()
    assert 0 < sum(slept_s) <= 1.01


def test_a_folder_that_is_empty_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = plain_picture(tmp_path / "snapshot.png")
    source = FolderSource(tmp_path, loop=True, sleep=lambda _seconds: plain_picture(path))
    source.open()
    assert source.read()
    path.unlink()
    assert source.read()


def test_a_picture_that_takes_more_memory_than_there_is_room_for_is_skipped_named_once_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("P", (4000, 4000)).save(folder / "bomb.png")
    source = FolderSource(folder, loop=True, room=lambda: 10 << 20)
    source.open()
    with caplog.at_level(logging.INFO):
        names = [frame.name for frame in (source.read() for _ in range(7)) if frame]
    assert names == ["a.jpg", "b.png", "c.webp"] * 2 + ["a.jpg"]
    texts = [record.getMessage() for record in caplog.records]
    assert len([text for text in texts if "bomb.png: decoding its 4000 x 4000 pixels" in text]) == 1
    (count,) = (record for record in caplog.records if record.getMessage() == "pictures skipped")
    assert count.__dict__["fields"] == {"skipped": 1, "read": 3}
    assert source.damaged == 2


def test_the_room_is_measured_before_each_picture(folder: Path) -> None:
    rooms = iter([0, 20 << 20, 0])
    source = FolderSource(folder, loop=False, room=lambda: next(rooms))
    source.open()
    assert [frame.name for frame in rest_of(source)] == ["b.png"]


def test_names_that_are_not_utf_8_are_escaped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain_picture(tmp_path / "a.jpg").rename(tmp_path / os.fsdecode(b"caf\xe9.jpg"))
    (tmp_path / os.fsdecode(b"bad\xff\x1b.jpg")).write_bytes(b"GIF89a")
    assert [frame.name for frame in rest_of(opened(tmp_path))] == [r"caf\xe9.jpg"]
    assert r"bad\xff\x1b.jpg: it is a GIF picture" in caplog.text

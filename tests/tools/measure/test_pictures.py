"""Which pictures a measurement runs on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.errors import SourceError, UsageError
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES
from edge_agent.tools.measure.pictures import measured_pictures, readable_pictures
from tests.sources.helpers import plain_picture


def test_without_a_folder_the_bundled_pictures_are_taken() -> None:
    assert measured_pictures(None) == tuple(str(picture.path) for picture in BUNDLED_PICTURES)


def test_hidden_files_are_no_pictures_to_measure_on(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert measured_pictures(tmp_path) == (str(tmp_path / "a.png"), str(tmp_path / "b.JPG"))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--images .*: there are no JPEG"):
        measured_pictures(tmp_path)
    with pytest.raises(UsageError, match="absent: there is no such folder"):
        measured_pictures(tmp_path / "absent")


def test_pictures_that_cannot_be_read_are_reported_and_counted(tmp_path: Path) -> None:
    plain_picture(tmp_path / "good.png")
    plain_picture(tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    lines: list[str] = []
    found = readable_pictures(tmp_path, lines.append)
    assert (found.paths, found.skipped) == ((str(tmp_path / "good.png"),), 2)
    assert r"caf\xe9.png" in lines[0]
    assert "page.jpg: it is a web page" in lines[1]


def test_a_folder_of_which_no_picture_can_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    with pytest.raises(SourceError, match="no picture can be read"):
        readable_pictures(tmp_path, lambda _line: None)

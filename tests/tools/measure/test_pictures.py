"""Which pictures a measurement runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import UsageError
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES
from edge_agent.tools.measure.pictures import measured_pictures


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

"""When a picture was taken: what its camera wrote, else the file's time."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_agent.sources.picture_time import taken_s

FILE_S = 1_700_000_000.0


def picture(path: Path, taken: object = None, zone: object = None, changed: object = None) -> Path:
    exif = Image.Exif()
    inner = exif.get_ifd(0x8769)
    for place, tag, value in ((inner, 0x9003, taken), (inner, 0x9011, zone), (exif, 0x0132, changed)):
        if value is not None:
            place[tag] = value
    Image.new("RGB", (16, 16)).save(path, exif=exif)
    os.utime(path, (FILE_S, FILE_S))
    return path


def time_of(path: Path) -> float:
    with path.open("rb") as file:
        return taken_s(file)


def local_s(*numbers: int) -> float:
    return datetime(*numbers).timestamp()  # type: ignore[arg-type]


def test_the_camera_knows_best(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg", "2026:11:26 18:05:07", changed="2026:11:27 00:00:00")
    assert time_of(path) == local_s(2026, 11, 26, 18, 5, 7)


def test_a_zone_is_honoured_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg", "2026:11:26 18:05:07", "+02:00")
    assert time_of(path) == datetime(2026, 11, 26, 16, 5, 7, tzinfo=UTC).timestamp()
    path = picture(tmp_path / "b.jpg", "2026:11:26 18:05:07", "here")
    assert time_of(path) == local_s(2026, 11, 26, 18, 5, 7)


def test_without_the_time_of_the_picture_the_one_beside_it_is_taken(tmp_path: Path) -> None:
    assert time_of(picture(tmp_path / "a.jpg", changed="2026:11:26 18:05:07")) == local_s(
        2026, 11, 26, 18, 5, 7
    )


@pytest.mark.parametrize(
    "taken", [None, "", "yesterday", "0000:00:00 00:00:00", "1970:01:01 00:00:00", b"\xff\xfe"]
)
def test_what_is_no_time_leaves_the_files(tmp_path: Path, taken: object) -> None:
    assert time_of(picture(tmp_path / "a.jpg", taken)) == FILE_S


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp"])
def test_other_formats_have_the_files_time(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (16, 16)).save(path)
    os.utime(path, (FILE_S, FILE_S))
    assert time_of(path) == FILE_S


@given(damage=st.binary(max_size=40), place=st.integers(0, 400))
def test_damage_is_no_trouble(tmp_path_factory: pytest.TempPathFactory, damage: bytes, place: int) -> None:
    path = picture(tmp_path_factory.mktemp("damaged") / "a.jpg", "2026:11:26 18:05:07", "+02:00")
    content = bytearray(path.read_bytes())
    content[place : place + len(damage)] = damage
    path.write_bytes(content)
    assert time_of(path) > 0

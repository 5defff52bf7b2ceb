"""Picture files of every kind, whole and damaged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_agent.errors import SourceError
from edge_agent.sources import picture
from edge_agent.sources.picture import SHORTER_SIDE_PX, pictures_in, read_picture
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES
from tests.sources.helpers import BLUE, RED, plain_picture

DOG = next(bundled.path for bundled in BUNDLED_PICTURES if bundled.name == "dog.jpg")
EXIF_ORIENTATION = 0x0112
ROTATE_90_CLOCKWISE = 6


def photo(size: tuple[int, int] = (120, 90)) -> Image.Image:
    return Image.open(DOG).convert("RGB").resize(size)


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.asarray(Image.fromarray(pixels).convert("L"), np.int64)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp", "JPG"])
def test_the_usual_formats_are_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    pixels = read_picture(plain_picture(tmp_path / f"blue.{suffix}", BLUE, size=(64, 48)))
    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels.reshape(-1, 3).mean(axis=0), BLUE, atol=8)


@pytest.mark.parametrize(
    ("mode", "suffix", "most_off"),
    [
        ("L", "png", 1), ("L", "jpg", 4), ("LA", "png", 1), ("P", "png", 14), ("RGBA", "png", 1),
        ("RGBA", "webp", 4), ("CMYK", "jpg", 4), ("YCbCr", "jpg", 4), ("RGB", "bmp", 1),
    ],
)  # fmt: skip
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str, suffix: str, most_off: int) -> None:
    path = tmp_path / f"photo.{suffix}"
    photo().convert(mode).save(path)
    pixels = read_picture(path)
    assert pixels.shape == (90, 120, 3)
    assert np.abs(luma(pixels) - np.asarray(photo().convert("L"), np.int64)).mean() < most_off


def test_sixteen_bits_a_pixel_are_scaled_not_clipped(tmp_path: Path) -> None:
    grey = np.asarray(photo().convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.png")[:, :, 1], grey)


def test_a_palette_with_transparency_is_read(tmp_path: Path) -> None:
    paletted = Image.new("P", (20, 10), 1)
    paletted.putpalette([0, 0, 0, *RED])
    paletted.save(tmp_path / "palette.png", transparency=bytes([255, 128]))
    assert (read_picture(tmp_path / "palette.png") == RED).all()


@pytest.mark.parametrize("size", [(120, 90), (2400, 1800)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_the_orientation_of_the_camera_is_applied(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    left_red = Image.new("RGB", size, BLUE)
    left_red.paste(RED, (0, 0, size[0] // 2, size[1]))
    exif = left_red.getexif()
    exif[EXIF_ORIENTATION] = ROTATE_90_CLOCKWISE
    path = tmp_path / f"turned.{suffix}"
    left_red.save(path, exif=exif)

    pixels = read_picture(path)
    height, width = pixels.shape[:2]
    assert height > width
    assert pixels[height // 4, width // 2].argmax() == 0, "red is at the top"
    assert pixels[3 * height // 4, width // 2].argmax() == 2, "blue is at the bottom"


def test_damaged_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "bad-exif.jpg"
    photo().save(path, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    assert read_picture(path).shape == (90, 120, 3)


def test_the_content_decides_about_the_format(tmp_path: Path) -> None:
    photo().save(tmp_path / "really-webp.jpg", format="WEBP")
    assert read_picture(tmp_path / "really-webp.jpg").shape == (90, 120, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (1030, 1025), (6000, 600)])
def test_a_big_picture_comes_back_smaller_but_not_too_small(
    tmp_path: Path, size: tuple[int, int], suffix: str
) -> None:
    path = plain_picture(tmp_path / f"big.{suffix}", BLUE, size)
    height, width = read_picture(path).shape[:2]
    assert SHORTER_SIDE_PX <= min(height, width) < 2 * SHORTER_SIDE_PX
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)


def test_a_reduced_picture_shows_the_same(tmp_path: Path) -> None:
    photo((3200, 2400)).save(tmp_path / "big.jpg", quality=95)
    pixels = read_picture(tmp_path / "big.jpg")
    reference = np.asarray(photo((3200, 2400)).resize((pixels.shape[1], pixels.shape[0])), np.int64)
    assert np.abs(pixels - reference).mean() < 2


def test_a_jpeg_is_decoded_small_and_needs_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "MOST_PIXELS", 1_000_000)
    path = plain_picture(tmp_path / "big.jpg", size=(4000, 3000))
    assert read_picture(path).shape == (750, 1000, 3)


def test_a_picture_too_big_to_decode_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "MOST_PIXELS", 1000)
    path = plain_picture(tmp_path / "big.png", size=(100, 11))
    with pytest.raises(SourceError, match=r"big\.png: 100 x 11 pixels are too many"):
        read_picture(path)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.jpg: No such file"):
        read_picture(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xd8", b"not a picture at all", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n" + bytes(40)],
)
def test_what_is_no_picture_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"odd\.png"):
        read_picture(path)


def encoded(format_name: str) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, format=format_name)
    return buffer.getvalue()


WHOLE = {name: encoded(name) for name in ("JPEG", "PNG", "WEBP", "BMP")}


@given(name=st.sampled_from(sorted(WHOLE)), data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_give_a_picture_or_a_source_error(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        pixels = read_picture(path)
    except SourceError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def test_only_plain_files_with_a_picture_suffix_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name in ("d.webp", "b.JPEG", "c.txt", ".hidden.jpg", "a.jpg", "e", "f.gif", "g.BMP", "h.png"):
        (tmp_path / name).touch()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.jpg", "b.JPEG", "d.webp", "g.BMP", "h.png"]


def test_a_folder_that_cannot_be_listed_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pictures_in(tmp_path / "absent")

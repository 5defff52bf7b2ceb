"""Picture files of every kind, whole and damaged."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks import decoding
from edge_agent.errors import SourceError
from edge_agent.sources.decode_cost import SHORTER_SIDE_PX, DecodePlan
from edge_agent.sources.picture import decode_picture, read_picture
from edge_agent.sources.picture_files import pictures_in
from edge_agent.sources.picture_header import PictureError, read_header
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES
from tests.sources.helpers import BLUE, RED, plain_picture

DOG = next(bundled.path for bundled in BUNDLED_PICTURES if bundled.name == "dog.jpg")
MB = 1 << 20
EXIF_ORIENTATION = 0x0112
ROTATE_90_CLOCKWISE = 6


def photo(size: tuple[int, int] = (120, 90)) -> Image.Image:
    return Image.open(DOG).convert("RGB").resize(size)


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.asarray(Image.fromarray(pixels).convert("L"), np.int64)


def encoded(format_name: str) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, format=format_name)
    return buffer.getvalue()


WHOLE = {name: encoded(name) for name in ("JPEG", "PNG", "WEBP", "BMP")}
WHOLE_PNG = WHOLE["PNG"]


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


def test_a_jpeg_is_decoded_small_and_needs_little_memory(tmp_path: Path) -> None:
    path = plain_picture(tmp_path / "big.jpg", size=(4000, 3000))
    assert read_picture(path, 8 * MB).shape == (750, 1000, 3)


def test_a_jpeg_for_which_there_is_little_room_is_decoded_smaller(tmp_path: Path) -> None:
    path = plain_picture(tmp_path / "photo.jpg", size=(1280, 960))
    assert read_picture(path, 16 * MB).shape == (960, 1280, 3)
    assert read_picture(path, 6 * MB).shape == (480, 640, 3)


EXPENSIVE: dict[str, dict[str, Any]] = {
    "palette.png": {"mode": "P", "size": (8000, 4000)},
    "colour.png": {"mode": "RGB", "size": (3000, 2000), "compress_level": 1},
    "progressive.jpg": {"mode": "RGB", "size": (8000, 4000), "progressive": True},
    "lossy.webp": {"mode": "RGB", "size": (1500, 1500), "method": 0},
    "colour.bmp": {"mode": "RGB", "size": (3000, 2000)},
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_a_picture_that_takes_more_than_there_is_room_for_is_refused_before_it_is_decoded(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(EXPENSIVE[name])
    Image.new(options.pop("mode"), options.pop("size")).save(tmp_path / name, **options)
    assert read_picture(tmp_path / name, 256 * MB).size
    monkeypatch.setattr(Image, "open", lambda *_args, **_options: pytest.fail("it was opened"))
    with pytest.raises(PictureError, match=rf"{name}: decoding its .* MB .* room for 20;") as refusal:
        read_picture(tmp_path / name, 20 * MB)
    assert refusal.value.trouble == "too large"


def test_a_picture_with_more_pixels_than_any_decoder_takes_is_refused_in_words_of_our_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "bomb.png").write_bytes(
        decoding.png(struct.pack(">IIBBBBB", 60000, 60000, 1, 0, 0, 0, 0), zlib.compress(bytes(100)))
    )
    with pytest.raises(PictureError, match="60000 x 60000 pixels are too many"):
        read_picture(tmp_path / "bomb.png", 1 << 40)


@pytest.mark.parametrize("name", decoding.MAKERS)
def test_every_kind_is_read_in_the_room_that_it_is_said_to_take(tmp_path: Path, name: str) -> None:
    path = tmp_path / "picture"
    decoding.make(name, path, 0.3)
    with path.open("rb") as file:
        header = read_header(file)
    with Image.open(path) as picture:
        assert picture.size == (header.width, header.height)
        assert picture.format in (header.format, "MPO")
    plan = DecodePlan.for_room(header, 1 << 40)
    height, width = read_picture(path, plan.cost_bytes).shape[:2]
    assert {height, width} == set(plan.size)
    with pytest.raises(PictureError, match="MB of memory"):
        read_picture(path, MB)


@pytest.mark.parametrize(
    "name",
    ["progressive JPEG", "JPEG scan by scan", "PNG palette", "PNG international texts", "WebP lossy", "BMP"],
)
def test_a_process_takes_no_more_memory_than_was_said(tmp_path: Path, name: str) -> None:
    found = decoding.measured(name, 2, tmp_path)
    assert found.holds, found
    assert found.took_mb > 2, "the kernel's peak is of this picture"


def test_a_jpeg_with_scans_without_end_is_refused(tmp_path: Path) -> None:
    """Each scan takes the time of a whole picture."""
    buffer = io.BytesIO()
    photo().save(buffer, format="JPEG", progressive=True)
    content = buffer.getvalue()
    scan = content[content.rindex(b"\xff\xda") : -2]
    (tmp_path / "slow.jpg").write_bytes(content[:-2] + 200 * scan + content[-2:])
    with pytest.raises(PictureError, match="more than 100 scans"):
        read_picture(tmp_path / "slow.jpg")


def test_metadata_count_since_they_are_kept_in_memory(tmp_path: Path) -> None:
    decoding.MAKERS["baseline JPEG, metadata"](tmp_path / "much.jpg", 3000, 3000)
    assert read_picture(tmp_path / "much.jpg").size
    with pytest.raises(PictureError, match="MB of memory"):
        read_picture(tmp_path / "much.jpg", 10 * MB)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.jpg: No such file"):
        read_picture(tmp_path / "none.jpg")


@pytest.mark.parametrize("cut_bytes", [1, 2])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"optimize": True}], ids=str
)
def test_a_jpeg_that_lacks_only_its_end_marker_is_read(
    tmp_path: Path, cut_bytes: int, options: dict[str, Any]
) -> None:
    photo().save(tmp_path / "whole.jpg", **options)
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:-cut_bytes])
    np.testing.assert_array_equal(read_picture(tmp_path / "cut.jpg"), read_picture(tmp_path / "whole.jpg"))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}], ids=str)
def test_a_jpeg_that_lacks_pixels_is_never_read(tmp_path: Path, options: dict[str, Any]) -> None:
    photo().save(tmp_path / "whole.jpg", **options)
    whole, pixels = (tmp_path / "whole.jpg").read_bytes(), read_picture(tmp_path / "whole.jpg")
    for length in range(10, len(whole) - 3, 37):
        (tmp_path / "cut.jpg").write_bytes(whole[:length])
        with contextlib.suppress(PictureError):
            np.testing.assert_array_equal(read_picture(tmp_path / "cut.jpg"), pixels)


def test_a_progressive_jpeg_that_lacks_a_whole_scan_is_not_read(tmp_path: Path) -> None:
    photo().save(tmp_path / "cut.jpg", progressive=True)
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: whole.rindex(b"\xff\xda")])
    with pytest.raises(PictureError, match="it ends too early"):
        read_picture(tmp_path / "cut.jpg")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP"])
def test_other_formats_that_lack_their_end_are_unfinished(tmp_path: Path, form: str) -> None:
    (tmp_path / "cut").write_bytes(WHOLE[form][: len(WHOLE[form]) // 2])
    with pytest.raises(PictureError, match="cut: it ends too early") as refusal:
        read_picture(tmp_path / "cut")
    assert refusal.value.trouble == "unfinished"


OTHER_KINDS = {
    b"": "it is empty",
    b"GIF89a" + bytes(20): "it is a GIF picture, and not JPEG, PNG, WebP or BMP",
    b"\0\0\0\x18ftypheic" + bytes(20): "it is a HEIC picture, and not",
    b"\0\0\0\x18ftypavif" + bytes(20): "it is an AVIF picture",
    b"\0\0\0\x18ftypisom" + bytes(20): "it is a video",
    b"II*\0" + bytes(20): "it is a TIFF picture",
    b"<!DOCTYPE html><html>": "it is a web page",
    b"\r\n<html lang='de'>": "it is a web page",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>": "it is an SVG drawing",
    b"<?xml version='1.0'?>\n<svg/>": "it is an SVG drawing",
    b"%PDF-1.7\n": "it is a PDF document",
    b"version https://git-lfs.github.com/spec/v1\noid": "it is a pointer of Git LFS; `git lfs pull`",
    b"RIFF\0\0\0\0AVI " + bytes(20): "it is a video",
    b"P6 10 10 255\n": "it is a PNM picture",
    b"hello, K\xc3\xa4se": "it is a text",
    bytes(600): "it is nothing but zero bytes",
    b"\x93\x01\xff": "it is of an unknown kind",
    b"BM, said the text, and went on": "it begins like a BMP picture",
    b"\x89PNG\r\n\x1a\n" + bytes(40): "it is damaged: it does not begin with its header",
    WHOLE_PNG[:20] + b"\7" + WHOLE_PNG[21:]: "it is damaged: the checksum of its header is wrong",
    WHOLE_PNG[:60] + bytes(50) + WHOLE_PNG[110:]: "it is damaged",
}


@pytest.mark.parametrize(("content", "message"), OTHER_KINDS.items(), ids=range(len(OTHER_KINDS)))
def test_what_is_no_picture_is_called_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "odd.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError) as refusal:
        read_picture(path)
    assert str(refusal.value).startswith(f"cannot read the picture {path}: {message}")
    assert "<" not in str(refusal.value), "no object of Python's is shown"


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, kind in (("folder.jpg", "a folder"), ("pipe.jpg", "a pipe"), ("/dev/null", "a device")):
        with pytest.raises(PictureError, match=f"it is {kind}, and no file"):
            read_picture(tmp_path / path)


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9\n\x1b[31m.jpg")
    path.write_bytes(b"GIF89a")
    with pytest.raises(PictureError) as refusal:
        read_picture(path)
    assert r"caf\xe9\n\x1b[31m.jpg: it is a GIF" in str(refusal.value)
    with pytest.raises(PictureError, match=r"caf\\xe9: it is a GIF"):
        decode_picture(b"GIF89a", os.fsdecode(b"caf\xe9"))


def test_a_picture_in_memory_is_decoded_like_a_file(tmp_path: Path) -> None:
    photo((1600, 1200)).save(tmp_path / "photo.jpg")
    content = (tmp_path / "photo.jpg").read_bytes()
    np.testing.assert_array_equal(decode_picture(content, "upload"), read_picture(tmp_path / "photo.jpg"))
    with pytest.raises(PictureError, match="cannot read the picture upload: decoding its 1600 x 1200 pixels"):
        decode_picture(content, "upload", room_bytes=MB)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(120, 90), (1100, 1030)])
def test_every_orientation_is_turned_as_pillow_turns_it(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    photo(size).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as picture:
        expected = ImageOps.exif_transpose(picture.reduce(min(size) // SHORTER_SIDE_PX or 1))
    np.testing.assert_array_equal(read_picture(tmp_path / "turned.png"), np.asarray(expected))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xd8", b"not a picture at all", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n" + bytes(40)],
)
def test_what_is_no_picture_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"odd\.png"):
        read_picture(path)


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

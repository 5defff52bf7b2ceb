"""Says what a file is that is not a picture of the wanted formats, by its first bytes."""

from __future__ import annotations

LONGEST_SIGN = 512
"""How many of a file's first bytes are looked at."""

_BEGINNINGS = (
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture, or a camera's raw file"),
    (b"MM\0*", "a TIFF picture, or a camera's raw file"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"8BPS", "a Photoshop picture"),
    (b"gimp xcf", "a GIMP picture"),
    (b"qoif", "a QOI picture"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a pointer of Git LFS; `git lfs pull` fetches the picture itself"),
    (b"PK\3\4", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\xfd7zXZ\0", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"\0\0\1\xba", "a video (MPEG)"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "a database (SQLite)"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_SPACE = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def kind_of(first: bytes) -> str:
    """Return what a file is that begins with `first`, as it ends a sentence that begins "it is"."""
    if not first:
        return "empty"
    if not first.strip(b"\0"):
        return "nothing but zero bytes, as a power failure leaves them"
    for beginning, kind in _BEGINNINGS:
        if first.startswith(beginning):
            return kind
    if first[4:8] == b"ftyp":
        return _kind_of_container(first[8:12])
    if first.startswith(b"RIFF"):
        return {b"AVI ": "a video (AVI)", b"WAVE": "a sound"}.get(first[8:12], "of an unknown kind (RIFF)")
    if first[:1] == b"P" and first[1:2] in b"1234567" and first[2:3] in _SPACE:
        return "a PNM picture"
    return _kind_of_text(first)


def _kind_of_container(brand: bytes) -> str:
    if brand in _HEIF_BRANDS:
        return "a HEIC picture"
    return "an AVIF picture" if brand in _AVIF_BRANDS else "a video (MP4 or QuickTime)"


def _kind_of_text(first: bytes) -> str:
    text = first.removeprefix(_BYTE_ORDER_MARK).lstrip(_SPACE)[:LONGEST_SIGN].lower()
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--")) and b"<svg" in text):
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return "a web page (HTML), perhaps what a server answered in place of the picture"
    if text.startswith(b"<?xml"):
        return "an XML document"
    if all(byte >= 0x20 or byte in _SPACE for byte in first) and _is_utf8(first):
        return "a text"
    return "of an unknown kind"


def _is_utf8(first: bytes) -> bool:
    try:
        first.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(first) - 3  # the cut went through a character
    return True

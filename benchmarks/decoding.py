"""Holds what decoding a picture is said to take against what it takes, for each format at growing sizes.

  python -m benchmarks.decoding [--megapixels 1 6 24] [--format progressive ...] [--json FILE]

Each picture is made here, and decoded in a fresh process that has decoded a small one of its kind before.
The peak is the kernel's (VmHWM), above the memory in use just before. Exit code 1 where one took more than
was said.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from PIL import Image, PngImagePlugin

from edge_agent.memory.procfs import read_memory
from edge_agent.sources.decode_cost import DecodePlan
from edge_agent.sources.picture import read_picture
from edge_agent.sources.picture_header import read_header
from edge_agent.tools.demo.bundled import PICTURES_DIR

_MB = 1 << 20
_UNLIMITED = 1 << 40
_ORIENTATION, _ROTATED = 0x0112, 6
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Maker = Callable[[Path, int, int], None]


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A bundled picture in that size and mode."""
    with Image.open(PICTURES_DIR / "dog.jpg") as picture:
        return picture.convert(mode).resize((width, height), Image.Resampling.NEAREST)


def _save(path: Path, width: int, height: int, mode: str, form: str, **options: object) -> None:
    photo(width, height, mode).save(path, format=form, **options)


def _turned(path: Path, width: int, height: int) -> None:
    exif = Image.Exif()
    exif[_ORIENTATION] = _ROTATED
    photo(width, height).save(path, format="JPEG", exif=exif)


def _with_metadata(path: Path, width: int, height: int) -> None:
    """A JPEG with as many bytes of metadata as pixels."""
    buffer = io.BytesIO()
    photo(width, height).save(buffer, format="JPEG")
    segment = b"\xff\xe5" + struct.pack(">H", 0xFFFF) + bytes(0xFFFD)
    path.write_bytes(buffer.getvalue()[:2] + segment * (width * height // 0xFFFF) + buffer.getvalue()[2:])


def _scan_by_scan(path: Path, width: int, height: int) -> None:
    """A baseline JPEG whose colours come one after the other: a decoder keeps every coefficient.

    Each block is of one colour, so that its bits can be written by hand: a DC difference of 0, end of block.
    """
    blocks = -(-width // 8) * -(-height // 8)
    bits = b"\0" * -(-blocks * 2 // 8)  # the codes of both tables are one bit: 0
    table = bytes([1]) + bytes(15) + b"\0"
    parts = [
        b"\xff\xd8",
        b"\xff\xdb\0\x43\0" + b"\1" * 64,
        b"\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width) + b"\3\1\x11\0\2\x11\0\3\x11\0",
        b"\xff\xc4\0\x14\0" + table,
        b"\xff\xc4\0\x14\x10" + table,
    ]
    parts += [b"\xff\xda\0\x08\1" + bytes([component]) + b"\0\0\x3f\0" + bits for component in (1, 2, 3)]
    path.write_bytes(b"".join([*parts, b"\xff\xd9"]))


def _interlaced(path: Path, width: int, height: int) -> None:
    """Black, in the seven passes of Adam7, which Pillow does not write."""
    packer = zlib.compressobj(1)
    data = bytearray()
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        for _ in range(rows if columns > 0 else 0):
            data += packer.compress(bytes(1 + 3 * columns))
    data += packer.flush()
    path.write_bytes(png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1), bytes(data)))


def png(header: bytes, data: bytes) -> bytes:
    """A PNG file of a header and packed pixels."""
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _deep(path: Path, width: int, height: int, *, channels: int) -> None:
    """16 bits a colour."""
    rows = zlib.compress(bytes((1 + 2 * channels * width) * height), 1)
    kind = {1: 0, 3: 2}[channels]
    path.write_bytes(png(struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0), rows))


def _with_texts(path: Path, width: int, height: int, *, is_international: bool) -> None:
    """A PNG with 20 MB of text, packed."""
    texts = PngImagePlugin.PngInfo()
    for number in range(20):
        if is_international:
            texts.add_itxt(f"text {number}", "\N{CAT FACE}" + "a" * (_MB - 1024), zip=True)
        else:
            texts.add_text(f"text {number}", "a" * (_MB - 1024), zip=True)
    photo(width, height).save(path, format="PNG", pnginfo=texts, compress_level=1)


def _animated(path: Path, width: int, height: int) -> None:
    frames = [photo(width, height), photo(width, height).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(path, format="WEBP", save_all=True, append_images=frames[1:], method=0)


def _run_lengths(path: Path, width: int, height: int) -> None:
    """A BMP whose rows are one run after the other."""
    run = bytes([255, 1]) * (width // 255) + (bytes([width % 255, 2]) if width % 255 else b"")
    data = (run + b"\0\0") * height + b"\0\1"
    offset = 14 + 40 + 1024
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))
    path.write_bytes(struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset) + info + palette + data)


MAKERS: Mapping[str, Maker] = {
    "baseline JPEG": partial(_save, mode="RGB", form="JPEG"),
    "baseline JPEG 4:4:4": partial(_save, mode="RGB", form="JPEG", subsampling=0),
    "baseline JPEG, grey": partial(_save, mode="L", form="JPEG"),
    "baseline JPEG, CMYK": partial(_save, mode="CMYK", form="JPEG"),
    "baseline JPEG, rotated": _turned,
    "baseline JPEG, metadata": _with_metadata,
    "progressive JPEG": partial(_save, mode="RGB", form="JPEG", progressive=True),
    "progressive JPEG 4:4:4": partial(_save, mode="RGB", form="JPEG", progressive=True, subsampling=0),
    "progressive JPEG, grey": partial(_save, mode="L", form="JPEG", progressive=True),
    "progressive JPEG, CMYK": partial(_save, mode="CMYK", form="JPEG", progressive=True),
    "JPEG scan by scan": _scan_by_scan,
    "MPO": partial(_save, mode="RGB", form="MPO"),
    "PNG RGB": partial(_save, mode="RGB", form="PNG", compress_level=1),
    "PNG RGBA": partial(_save, mode="RGBA", form="PNG", compress_level=1),
    "PNG grey": partial(_save, mode="L", form="PNG", compress_level=1),
    "PNG grey and alpha": partial(_save, mode="LA", form="PNG", compress_level=1),
    "PNG palette": partial(_save, mode="P", form="PNG", compress_level=1),
    "PNG black and white": partial(_save, mode="1", form="PNG", compress_level=1),
    "PNG 16 bits": partial(_deep, channels=3),
    "PNG 16 bits, grey": partial(_deep, channels=1),
    "PNG interlaced": _interlaced,
    "PNG texts": partial(_with_texts, is_international=False),
    "PNG international texts": partial(_with_texts, is_international=True),
    "WebP lossy": partial(_save, mode="RGB", form="WEBP", method=0),
    "WebP lossy, alpha": partial(_save, mode="RGBA", form="WEBP", method=0),
    "WebP lossless": partial(_save, mode="RGB", form="WEBP", method=0, lossless=True, quality=0),
    "WebP animated": _animated,
    "BMP": partial(_save, mode="RGB", form="BMP"),
    "BMP palette": partial(_save, mode="P", form="BMP"),
    "BMP run lengths": _run_lengths,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one picture was said to take, and took, in MB."""

    format: str
    width: int
    height: int
    file_mb: float
    said_mb: float
    took_mb: float

    @property
    def holds(self) -> bool:
        return self.took_mb <= self.said_mb


def make(name: str, path: Path, megapixels: float) -> None:
    """Write a picture of that kind, 4 to 3."""
    height = max(8, round((megapixels * 1e6 * 3 / 4) ** 0.5))
    MAKERS[name](path, max(8, round(height * 4 / 3)), height)


def measured(name: str, megapixels: float, directory: Path) -> Finding:
    """Make a picture, and decode it in a fresh process."""
    small, large = directory / "small", directory / "large"
    make(name, small, 0.01)
    make(name, large, megapixels)
    with large.open("rb") as file:
        header = read_header(file)
    said_mb = DecodePlan.for_room(header, _UNLIMITED).cost_bytes / _MB
    command = [sys.executable, "-m", "benchmarks.decoding", "--child", str(small), str(large)]
    took_mb = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Finding(name, header.width, header.height, large.stat().st_size / _MB, said_mb, took_mb)


def _child(small: Path, large: Path) -> None:
    """Print how far the peak of decoding is above what is in memory before."""
    read_picture(small, _UNLIMITED)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins again here
    before_mb = read_memory().rss_mb
    read_picture(large, _UNLIMITED)
    print(read_memory().peak_mb - before_mb)


def _table(findings: Sequence[Finding]) -> Iterator[str]:
    yield "| picture | pixels | file MB | said MB | took MB | |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for found in findings:
        yield (
            f"| {found.format} | {found.width} x {found.height} | {found.file_mb:.1f} | {found.said_mb:.1f} |"
            f" {found.took_mb:.1f} | {'' if found.holds else '**more**'} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 6, 24])
    parser.add_argument(
        "--format", nargs="+", default=[""], help="only those whose name contains one of these"
    )
    parser.add_argument("--json", type=Path, help="write the findings there, too")
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child)
        return 0
    names = [name for name in MAKERS if any(part.lower() in name.lower() for part in arguments.format)]
    findings = []
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        for name in names:
            for megapixels in arguments.megapixels:
                findings.append(measured(name, megapixels, Path(directory)))
                print(f"{name}, {megapixels:g} megapixels", file=sys.stderr)
    print("\n".join(_table(findings)))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(found) for found in findings], indent=2))
    return 0 if all(found.holds for found in findings) else 1


if __name__ == "__main__":
    sys.exit(main())

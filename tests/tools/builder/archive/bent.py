"""Damages files at random, by a seed."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path


def bent(path: Path, seed: int, content: bytes) -> None:
    """Write `content` with some bytes changed, cut or doubled."""
    chosen = random.Random(seed)
    damaged = bytearray(content)
    for _ in range(chosen.randint(1, 6)):
        place = chosen.randrange(len(damaged) or 1)
        match chosen.randrange(4):
            case 0:
                damaged[place : place + 1] = bytes([chosen.randrange(256)])
            case 1:
                del damaged[place : place + chosen.randint(1, 9)]
            case 2:
                damaged[place:place] = damaged[place : place + chosen.randint(1, 40)]
            case 3:
                damaged[place : place + 4] = chosen.choice((b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"))
    path.write_bytes(bytes(damaged))


def bent_zip(path: Path, seed: int, entries: dict[str, bytes], endings: tuple[str, ...] = (".pkl",)) -> None:
    """The same of one entry of an archive, so that the damage lies behind the archive's own checks."""
    names = sorted(name for name in entries if name.endswith(endings))
    name = names[seed % len(names)]
    bent(path, seed, entries[name])
    damaged = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in entries.items():
            archive.writestr(each, damaged if each == name else content)


def entries_of(path: Path) -> dict[str, bytes]:
    """The entries of an archive by their names."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}

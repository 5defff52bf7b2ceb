"""Bundles as bytes, good ones and others."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable


def bundle(*entries: tuple[str, bytes] | tarfile.TarInfo, format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar archive of these files, or of entries that are something else."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            name, content = entry
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def other(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """An entry that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def with_sum(header: bytes) -> bytes:
    """A header of 512 bytes with the checksum that it should have."""
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + f"{sum(blank):06o}\0 ".encode() + header[156:]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def joined(pieces: Iterable[bytes]) -> bytes:
    return b"".join(pieces)

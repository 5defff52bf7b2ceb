"""Fetches a file over HTTP by Python's own library: checked by its hash, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from contextlib import suppress
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, TextIO

_CHUNK_BYTES = 1 << 18
_LARGEST_BYTES = 2 << 30
_BAR = 30


class DamagedError(Exception):
    """What arrived is not what was asked for; the text says how."""


def download(url: str, path: Path, sha256: str, *, timeout_s: float, terminal: TextIO) -> None:
    """Fetch `url` to `path`, which appears only once its sha256 is known to begin with `sha256`.

    A server that sends nothing for `timeout_s` is given up. `terminal` shows the progress where it is one.
    Raises DamagedError for another content, and what urllib raises: OSError, HTTPException.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(url, timeout=timeout_s) as answer:
            found = _copy(answer, answer.headers, file, terminal if terminal.isatty() else None)
            file.flush()
            os.fsync(file.fileno())
        if not found.startswith(sha256):
            raise DamagedError(f"its sha256 is {found[: len(sha256)]}..., expected {sha256}...")
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _copy(answer: IO[bytes], headers: HTTPMessage, file: IO[bytes], terminal: TextIO | None) -> str:
    """Copy what the server sends, and return its sha256."""
    expected = int(headers["Content-Length"] or 0)
    digest, arrived = hashlib.sha256(), 0
    while chunk := answer.read(_CHUNK_BYTES):
        arrived += len(chunk)
        if arrived > _LARGEST_BYTES:
            raise DamagedError("it is larger than any file of weights")
        digest.update(chunk)
        file.write(chunk)
        if terminal and expected:
            _show(arrived / expected, expected, terminal)
    if terminal and expected:
        terminal.write("\n")
    if expected and arrived != expected:
        raise DamagedError(f"{arrived} of {expected} bytes have arrived")
    return digest.hexdigest()


def _show(share: float, expected_bytes: int, terminal: TextIO) -> None:
    bar = "#" * int(_BAR * share)
    terminal.write(f"\r{bar:<{_BAR}} {share:4.0%} of {expected_bytes / 1e6:.1f} MB")
    terminal.flush()

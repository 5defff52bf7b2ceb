"""Gives the virtual environment that runs this its pip: python -I requirements/unpack_pip.py

`ensurepip` has pip install itself, and compiles all of it, which takes a slow board longer than all the rest.
Here its wheel is unpacked, and only what pip imports is compiled, as it does so.
"""

from __future__ import annotations

import ensurepip
import runpy
import sys
import sysconfig
import zipfile
from pathlib import Path


def bundled_wheel() -> Path | None:
    """The wheel of pip that came with this Python: Debian keeps it in a folder of its own."""
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR"), Path(ensurepip.__file__).parent / "_bundled"]
    wheels = [wheel for folder in folders if folder for wheel in sorted(Path(folder).glob("pip-*.whl"))]
    return wheels[0] if wheels else None


def main() -> None:
    wheel = bundled_wheel()
    if wheel is None:
        sys.argv[1:] = ["--default-pip"]
        runpy.run_module("ensurepip", run_name="__main__")
        return
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(sysconfig.get_path("purelib"))


if __name__ == "__main__":
    main()

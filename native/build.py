"""Compiles the kernels for every kind of CPU that a machine may have: python native/build.py DIRECTORY

Used by setup.py, by the Makefile and by hand. Needs nothing but a C compiler; takes seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMON = ("-std=gnu11", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra")
# The instructions are named one by one, so that native_can_run can ask the CPU for each.
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")


@dataclass(frozen=True)
class Variant:
    """One shared library: the flags for the kernels, and the definition that names what they need."""

    name: str
    machine: str
    flags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        return f"kernels-{self.name}.so"


VARIANTS = (
    Variant("x86-avx512", "x86_64", _AVX512, ("-DNATIVE_AVX512",)),
    Variant("x86-avx2", "x86_64", _AVX2, ("-DNATIVE_AVX2",)),
    Variant("x86-sse2", "x86_64"),
    Variant("arm-neon", "aarch64"),
    Variant("arm-fp16", "aarch64", ("-march=armv8.2-a+fp16", "-DNATIVE_HALF"), ("-DNATIVE_HALF",)),
)


def find_compiler(machine: str) -> str | None:
    """The C compiler for that machine: $CC, the system's own, or Debian's cross compiler."""
    if chosen := os.environ.get("CC"):
        return chosen
    own = ("cc", "gcc", "clang") if machine == platform.machine() else ()
    return next((c for c in (*own, f"{machine}-linux-gnu-gcc") if shutil.which(c)), None)


def build(directory: Path, machine: str, compiler: str, extra: tuple[str, ...] = ()) -> list[Path]:
    """Compile every variant for `machine` into `directory`, unless it is there and newer than the sources.

    With `extra` flags all are compiled. Raises subprocess.CalledProcessError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    wanted = [variant for variant in VARIANTS if variant.machine == machine]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda variant: _library(variant, directory, compiler, extra), wanted))


def _library(variant: Variant, directory: Path, compiler: str, extra: tuple[str, ...]) -> Path:
    there = directory / variant.file_name
    return there if not extra and is_current(there) else _compile(variant, directory, compiler, extra)


def is_current(library: Path) -> bool:
    """Whether a library was compiled from the sources as they are."""
    sources = (*HERE.glob("*.c"), *HERE.glob("*.h"), Path(__file__))
    newest = max(source.stat().st_mtime for source in sources)
    return library.is_file() and library.stat().st_mtime > newest


def version() -> str:
    """Changes with the sources, so that a measurement of other kernels is known for one."""
    digest = hashlib.sha256()
    for source in sorted((*HERE.glob("*.c"), *HERE.glob("*.h"))):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:8]


def _compile(variant: Variant, directory: Path, compiler: str, extra: tuple[str, ...]) -> Path:
    target = directory / variant.file_name
    work = directory / f".{variant.name}"
    work.mkdir(exist_ok=True)
    try:
        objects = []
        for source in sorted(HERE.glob("*.c")):
            flags = variant.needs if source.name == "cpu.c" else variant.flags
            flags = (*flags, f'-DNATIVE_VERSION="{version()}"')
            objects.append(work / f"{source.stem}.o")
            _run(compiler, *COMMON, *flags, *extra, "-c", str(source), "-o", str(objects[-1]))
        _run(compiler, *COMMON, *extra, "-shared", *map(str, objects), "-o", str(work / target.name))
        (work / target.name).replace(target)  # a process that has the old one open keeps it
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where to put the libraries")
    parser.add_argument(
        "--machine", default=platform.machine(), help="x86_64 or aarch64; default: this machine's"
    )
    parser.add_argument("--compiler", help="default: $CC, else what is found")
    parser.add_argument(
        "--flag", action="append", default=[], help="one more flag, for instance -fsanitize=address"
    )
    options = parser.parse_args()
    compiler = options.compiler or find_compiler(options.machine)
    if compiler is None:
        print(f"build.py: no C compiler for {options.machine}: apt install gcc", file=sys.stderr)
        return 1
    try:
        for path in build(options.directory, options.machine, compiler, tuple(options.flag)):
            print(path)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

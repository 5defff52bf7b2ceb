"""Reads the board's lock files: which packages install.sh may install, and which of them are missing.

    python3 -I requirements/board.py unmet LOCK... -- PYPROJECT [EXTRA...]
    python3 -I requirements/board.py named LOCK... -- NAME...
    python3 -I requirements/board.py target LOCK... -- PYTHON MACHINE
    python3 -I requirements/board.py check LOCK... -- WHEELHOUSE

The first three print requirements with hashes, for pip: what this Python still lacks; the packages of these
names; everything for another Python (3.13) and machine (aarch64). `check` names the wheels that differ from
the lock. All exit with 1, and say why, where something is wrong. Only `check` works without pip.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


class LockError(Exception):
    """The lock and what is asked of it do not go together."""


@dataclass(frozen=True)
class Locked:
    """One package of a lock: its line without the marker, and the files that may be installed."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def applies(self, environment: dict[str, str] | None = None) -> bool:
        """Whether it is for this Python and machine, or for those of `environment`."""
        from pip._vendor.packaging.markers import Marker

        return not self.marker or Marker(self.marker).evaluate(environment)

    def __str__(self) -> str:
        return " ".join((f"{self.name}=={self.version}", *(f"--hash=sha256:{sha}" for sha in self.hashes)))


_LINE = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; (?P<marker>.*?))?\s*(?=--hash|$)")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read(files: Sequence[Path]) -> tuple[Locked, ...]:
    """Every package of the locks. Raises LockError for a line without a version or without hashes."""
    return tuple(dict.fromkeys(_parse(line) for file in files for line in _lines(file)))


def _lines(file: Path) -> Iterator[str]:
    for line in file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _parse(line: str) -> Locked:
    found, hashes = _LINE.match(line), tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    if found is None or not hashes:
        raise LockError(f"the lock has a line without a version or without hashes: {line!r}")
    return Locked(canonical(found["name"]), found["version"], found["marker"] or "", hashes)


def named(lock: Sequence[Locked], names: Sequence[str]) -> Iterator[Locked]:
    """The locked packages of these names, for this Python and machine."""
    for name in names:
        fitting = [locked for locked in lock if locked.name == canonical(name) and locked.applies()]
        if not fitting:
            raise LockError(f"{name} is needed and not locked: run requirements/lock-board")
        yield from fitting


def target(lock: Sequence[Locked], python: str, machine: str) -> Iterator[Locked]:
    """The packages for another Python and machine, with Linux."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
    }
    return (locked for locked in lock if locked.applies(environment))


def requirements(pyproject: Path, extras: Sequence[str]) -> list[str]:
    """What the project depends on, with these extras."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


def unmet(
    wanted: Sequence[str], find: Callable[[str], metadata.Distribution] = metadata.distribution
) -> Iterator[str]:
    """The names of what is missing or has the wrong version, for this Python to fulfil `wanted`.

    What is installed outside this virtual environment is Debian's, and whole: its needs are not looked at.
    """
    from pip._vendor.packaging.requirements import Requirement

    queue, seen = [*wanted], set[str]()
    while queue:
        if (line := queue.pop()) in seen:
            continue
        seen.add(line)
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = find(requirement.name)
        except metadata.PackageNotFoundError:
            yield requirement.name
            continue
        if not requirement.specifier.contains(found.version, prereleases=True):
            yield requirement.name
        elif Path(str(found.locate_file(""))).is_relative_to(sys.prefix):
            queue += found.requires or []


def check(lock: Sequence[Locked], wheelhouse: Path) -> Iterator[str]:
    """What is wrong with the wheels that the lock names."""
    names = {locked.name for locked in lock}
    allowed = {sha for locked in lock for sha in locked.hashes}
    for wheel in sorted(wheelhouse.glob("*.whl")):
        if canonical(wheel.name.split("-")[0]) not in names:
            continue
        with wheel.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        if sha not in allowed:
            yield f"{ascii(wheel.name)[1:-1]} is not a file that the lock names (sha256 {sha})"


def main(arguments: Sequence[str]) -> int:
    split = arguments.index("--")
    command, lock, rest = (
        arguments[0],
        read([Path(name) for name in arguments[1:split]]),
        arguments[split + 1 :],
    )
    if command == "check":
        lines: list[str] = list(check(lock, Path(rest[0])))
        print(*lines, sep="\n", end="\n" * bool(lines))
        return 1 if lines else 0
    if command == "unmet":
        found = named(lock, sorted(set(unmet(requirements(Path(rest[0]), rest[1:])))))
    elif command == "named":
        found = named(lock, rest)
    else:
        found = target(lock, rest[0], rest[1] if len(rest) > 1 else platform.machine())
    for line in dict.fromkeys(map(str, found)):
        print(line)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LockError as error:
        print(error, file=sys.stderr)
        sys.exit(1)

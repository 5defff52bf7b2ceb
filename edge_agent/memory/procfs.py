"""Reads how much memory a process and its children occupy, from /proc."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from edge_agent.errors import EdgeAgentError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.files import read_or_empty

KB_PER_MB = 1024
PROC = Path("/proc")
_MOST_DIGITS = 20  # what 64 bits can need; longer words are not the kernel's


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Resident memory of a process and all its descendants, in MB (MiB).

    `rss_mb` is the sum of `anon_mb` (heap, stacks: what only the program can give back), `file_mb` (mapped
    files, mostly code: what the kernel can drop and read again) and shared memory. Pages that a child shares
    with its parent count once for each, as VmRSS counts them.
    """

    rss_mb: float
    anon_mb: float
    file_mb: float
    peak_mb: float
    """The sum of each process's own peak (VmHWM): at least the peak of the sum."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping of a process, as /proc/PID/smaps describes it."""

    start: int
    end: int
    permissions: str
    inode: int
    path: str
    device: str = ""
    private_kb: int | None = None
    """Pages that the process has written to, in memory or swapped out. None: unknown."""

    @property
    def length(self) -> int:
        return self.end - self.start


def parse_status(text: str) -> MemoryUse:
    """Return the memory figures of the text of /proc/PID/status; 0 for those that it lacks.

    A kernel thread and a zombie have none of them: their memory is 0.
    """
    return MemoryUse(
        rss_mb=_field_mb(text, "VmRSS"),
        anon_mb=_field_mb(text, "RssAnon"),
        file_mb=_field_mb(text, "RssFile"),
        peak_mb=_field_mb(text, "VmHWM"),
    )


def parse_parent(text: str) -> int:
    """Return the parent's process id from the text of /proc/PID/status; 0 where there is none."""
    value = _field(text, "PPid")
    return int(value) if _is_number(value) else 0


def parse_children(text: str) -> tuple[int, ...]:
    """Return the process ids in the text of /proc/PID/task/TID/children."""
    return tuple(int(word) for word in text.split() if _is_number(word))


def parse_smaps(lines: Iterable[str]) -> tuple[Mapping, ...]:
    """Return the mappings in the lines of /proc/PID/smaps.

    Lines that are neither a mapping nor one of its fields are passed over.
    """
    found: list[Mapping] = []
    for line in lines:
        if line[:1].isupper():  # a field: there are twenty to a mapping
            if found and line.startswith(("Anonymous:", "Swap:")):
                found[-1] = _with_private(found[-1], line)
        elif (mapping := _parse_mapping(line)) is not None:
            found.append(mapping)
    return tuple(found)


def read_memory(pid: int | None = None, proc: Path = PROC) -> MemoryUse:
    """Return the memory that process `pid` (None: this one) and all its descendants occupy.

    On kernels 6.2 to 6.16 the figures of /proc/PID/status may be off by some hundred kB, since each CPU keeps
    a share of the count to itself; that is well below what the budget is decided by.

    Raises ProcessLookupError when there is no such process, and EdgeAgentError when not even this one can be
    found.
    """
    root = read_or_empty(proc / _name(pid) / "status")
    if not root and pid is None:
        raise EdgeAgentError(f"{proc}/self/status cannot be read, so memory cannot be measured: mount {proc}")
    if not root:
        raise ProcessLookupError(f"there is no process {_name(pid)} in {proc}")
    uses = [parse_status(root)]
    for child in _descendants(_name(pid), proc):
        status = read_or_empty(proc / str(child) / "status")
        if status:  # it may have ended since it was listed
            uses.append(parse_status(status))
    return _total(uses)


def read_smaps(proc: Path = PROC) -> tuple[Mapping, ...]:
    """Return the mappings of this process; empty where the kernel has no smaps.

    Line by line: the whole text takes as much memory as a trim may give back.
    """
    try:
        with (proc / "self" / "smaps").open(errors="replace") as lines:
            return parse_smaps(lines)
    except OSError:
        return ()


def _name(pid: int | None) -> str:
    return "self" if pid is None else str(pid)


def _descendants(name: str, proc: Path) -> Iterator[int]:
    for child in _children(name, proc):
        yield child
        yield from _descendants(str(child), proc)


def _children(name: str, proc: Path) -> tuple[int, ...]:
    # Kernels built with CONFIG_PROC_CHILDREN list them, per thread; with others every process is asked.
    lists = [path for task in _tasks(proc / name / "task") if (path := task / "children").exists()]
    if lists:
        return tuple(pid for path in lists for pid in parse_children(read_or_empty(path)))
    return tuple(_children_by_parent(name, proc))


def _tasks(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:  # the process has ended
        return []


def _children_by_parent(name: str, proc: Path) -> Iterator[int]:
    own_id = _field(read_or_empty(proc / name / "status"), "Pid")
    if not _is_number(own_id):
        return
    for entry in proc.iterdir():
        if _is_number(entry.name) and parse_parent(read_or_empty(entry / "status")) == int(own_id):
            yield int(entry.name)


def _total(uses: list[MemoryUse]) -> MemoryUse:
    return MemoryUse(
        rss_mb=sum(use.rss_mb for use in uses),
        anon_mb=sum(use.anon_mb for use in uses),
        file_mb=sum(use.file_mb for use in uses),
        peak_mb=sum(use.peak_mb for use in uses),
    )


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator and key == name:
            return value.strip()
    return ""


def _field_mb(text: str, name: str) -> float:
    number = _field(text, name).partition(" ")[0]
    return int(number) / KB_PER_MB if _is_number(number) else 0.0


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= _MOST_DIGITS


def _parse_mapping(line: str) -> Mapping | None:
    # 7f0c1000-7f0c2000 r-xp 00001000 08:01 1234    /usr/lib/libc.so.6
    words = line.split(maxsplit=5)
    if len(words) < 5 or len(words[1]) != 4 or not _is_number(words[4]):
        return None
    first, _, last = words[0].partition("-")
    try:
        start, end = int(first, 16), int(last, 16)
    except ValueError:
        return None
    if not 0 <= start < end:
        return None
    path = words[5].rstrip("\n") if len(words) == 6 else ""
    return Mapping(start, end, words[1], int(words[4]), path, words[3])


def _with_private(mapping: Mapping, line: str) -> Mapping:
    number = line.partition(":")[2].split()
    if not number or not _is_number(number[0]):
        return mapping
    return replace(mapping, private_kb=(mapping.private_kb or 0) + int(number[0]))

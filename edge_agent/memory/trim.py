"""Gives memory back to the system: what the allocator keeps for later, and code that has not run lately.

Written for glibc, whose allocator keeps freed memory to itself; with another C library the functions here do
nothing, and `TrimResult.note` says so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.procfs import Mapping, MemoryUse, read_memory, read_smaps

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MADV_DONTNEED = 4  # from Linux's asm-generic/mman-common.h

_ARENAS = 2  # heaps for all threads together, instead of eight a core
_LEAN_RETURN_FROM_KB = 256

_NOT_GLIBC = "not glibc: its allocator has no malloc_trim"


class Libc(Protocol):
    """The calls of the C library that trimming needs."""

    def mallopt(self, parameter: int, value: int) -> bool:
        """Set an allocator parameter; False where the C library has no such call or refuses the value."""
        ...

    def malloc_trim(self) -> bool | None:
        """Give free heap pages back; None where the C library cannot."""
        ...

    def drop(self, start: int, length: int) -> bool:
        """Let the kernel forget the pages of a mapping; they are read from the file again when touched."""
        ...


@dataclass(frozen=True, slots=True)
class TrimResult:
    """Resident memory before and after a trim, in MB; both figures are measured."""

    before_mb: float
    after_mb: float
    note: str = ""
    """Why nothing was done; empty where it was."""


class SystemLibc:
    """The C library that this process is linked to."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)

    def mallopt(self, parameter: int, value: int) -> bool:
        function = getattr(self._library, "mallopt", None)
        return function is not None and bool(function(ctypes.c_int(parameter), ctypes.c_int(value)))

    def malloc_trim(self) -> bool | None:
        function = getattr(self._library, "malloc_trim", None)
        if function is None:
            return None
        return bool(function(ctypes.c_size_t(0)))

    def drop(self, start: int, length: int) -> bool:
        madvise = self._library.madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        return bool(madvise(start, length, _MADV_DONTNEED) == 0)


def tune_allocator(libc: Libc, engine: str = "") -> None:
    """Set the allocator up for an engine. No other place does, so that what is measured is what runs.

    Call it without an engine before threads are started: it bounds how many separate heaps they get. Call it
    again once the engine is loaded. With `xnnpack`, where nothing but pictures comes and goes, blocks of
    256 kB and more are returned to the system as soon as they are freed: they have all sizes, and would
    fragment the heap. torch allocates such blocks in each frame; returned at once, they would cost it
    thousands of page faults a frame (docs/memory.md), so it keeps glibc's own, growing thresholds.
    """
    libc.mallopt(_M_ARENA_MAX, _ARENAS)
    if engine in ("native", "xnnpack"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LEAN_RETURN_FROM_KB * 1024)
        libc.mallopt(_M_TRIM_THRESHOLD, _LEAN_RETURN_FROM_KB * 1024)


def droppable(mappings: Sequence[Mapping]) -> tuple[Mapping, ...]:
    """Return the mappings whose pages can be forgotten: code and constants of programs and libraries.

    Mappings that may be written to are left alone, and so are those that have been written to although they
    are read-only now, since a process that loses those pages dies. The latter are the data in which the
    dynamic linker has put addresses (`r--p`), and the rare code with addresses in it; their private pages
    give them away. Files without code are left alone too: another thread may close them, and map something
    else in their place.
    """
    untouched = [m for m in mappings if m.inode > 0 and m.private_kb == 0]
    code = {(m.device, m.inode) for m in mappings if m.permissions == "r-xp" and m.inode > 0}
    return tuple(m for m in untouched if m.permissions in ("r-xp", "r--p") and (m.device, m.inode) in code)


class Trimmer:
    """Trims this process; `trim` takes tens of milliseconds, so call it seldom and between frames."""

    def __init__(
        self,
        libc: Libc | None = None,
        read_mappings: Callable[[], tuple[Mapping, ...]] = read_smaps,
        measure: Callable[[], MemoryUse] = read_memory,
    ) -> None:
        self._libc = SystemLibc() if libc is None else libc
        self._read_mappings = read_mappings
        self._measure = measure

    def trim(self) -> TrimResult:
        """Return free heap pages to the system and forget code pages; those in use are soon read again."""
        before = self._measure().rss_mb
        if self._libc.malloc_trim() is None:
            return TrimResult(before, before, _NOT_GLIBC)
        for mapping in droppable(self._read_mappings()):
            self._libc.drop(mapping.start, mapping.length)
        return TrimResult(before, self._measure().rss_mb)

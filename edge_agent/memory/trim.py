"""Gives memory back to the system: what the allocator keeps for later, and code that has not run lately.

Written for glibc, whose allocator keeps freed memory to itself; with another C library the functions here do
nothing, and `AllocatorTuning.note` and `TrimResult.note` say so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent.memory.procfs import Mapping, MemoryUse, read_memory, read_smaps

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MADV_DONTNEED = 4  # from Linux's asm-generic/mman-common.h

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
class AllocatorTuning:
    """What `tune_allocator` set."""

    arenas: int
    threshold_kb: int
    note: str = ""
    """Why nothing was set; empty where it was."""


@dataclass(frozen=True, slots=True)
class TrimResult:
    """What one trim achieved, in MB of resident memory; both figures are measured."""

    before_mb: float
    after_mb: float
    mappings_dropped: int
    note: str = ""

    @property
    def freed_mb(self) -> float:
        return self.before_mb - self.after_mb


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


def tune_allocator(libc: Libc, *, arenas: int = 2, threshold_kb: int = 0) -> AllocatorTuning:
    """Keep the allocator from hoarding; call it before threads are started and engines loaded.

    `arenas` bounds how many separate heaps the threads get. With `threshold_kb` above 0, blocks of that size
    and larger are returned to the system as soon as they are freed, at the price of page faults in each frame
    that allocates them anew; at 0 the allocator's own, growing thresholds are left alone.
    """
    if not libc.mallopt(_M_ARENA_MAX, arenas):
        return AllocatorTuning(0, 0, _NOT_GLIBC)
    if threshold_kb > 0:
        libc.mallopt(_M_MMAP_THRESHOLD, threshold_kb * 1024)
        libc.mallopt(_M_TRIM_THRESHOLD, threshold_kb * 1024)
    return AllocatorTuning(arenas, threshold_kb)


def droppable(mappings: Sequence[Mapping]) -> tuple[Mapping, ...]:
    """The mappings whose pages can be forgotten without loss: code and constants of programs and libraries.

    What is left alone, since losing it kills the process: whatever may be written to, and whatever has been
    written to in spite of being read-only now. That is the data in which the dynamic linker has put
    addresses (`r--p`), and the rare code with addresses in it; their private pages give them away. Files
    without code are left alone too: another thread may close them, and map something else in their place.
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
        """Return free heap pages to the system and forget code pages: what is in use comes back by itself."""
        before = self._measure().rss_mb
        heap = self._libc.malloc_trim()
        if heap is None:
            return TrimResult(before, before, 0, _NOT_GLIBC)
        mappings = droppable(self._read_mappings())
        dropped = sum(self._libc.drop(mapping.start, mapping.length) for mapping in mappings)
        return TrimResult(before, self._measure().rss_mb, dropped)

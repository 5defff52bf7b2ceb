"""Reads the time: monotonic, by the wall clock, and whether the wall clock can be trusted."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge_agent.system.files import read_or_empty

TIMESYNCD_MARK = Path("/run/systemd/timesync/synchronized")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 256  # struct timex is 208 bytes on 64-bit Linux, 128 on 32-bit


class Clock(Protocol):
    """Where the agent reads the time."""

    def monotonic_s(self) -> float:
        """Seconds that only grow, the same for every process until the next boot."""
        ...

    def time_s(self) -> float:
        """Seconds since 1970-01-01 UTC by this machine's clock, which may be wrong until `synced`."""
        ...

    def synced(self) -> bool:
        """Whether the wall clock has been set from a time server since the boot."""
        ...


class SystemClock:
    """The machine's clock."""

    def __init__(self, mark: Path = TIMESYNCD_MARK, kernel: Callable[[], bool | None] | None = None) -> None:
        """`mark` is the file that systemd-timesyncd leaves; `kernel` asks the kernel (None: no answer)."""
        self._mark = mark
        self._kernel = kernel_synced if kernel is None else kernel

    def monotonic_s(self) -> float:
        return time.monotonic()

    def time_s(self) -> float:
        return time.time()

    def synced(self) -> bool:
        """Ask the kernel; where it refuses (a service with ProtectClock=yes), look for timesyncd's mark."""
        known = self._kernel()
        return self._mark.exists() if known is None else known


def kernel_synced() -> bool | None:
    """Whether the kernel's clock is disciplined, by adjtimex(2); None where the call is not allowed."""
    # All zero: modes = 0 reads the state and changes nothing.
    state = ctypes.create_string_buffer(_TIMEX_BYTES)
    result: int = ctypes.CDLL(None, use_errno=True).adjtimex(state)
    return None if result < 0 else result != _TIME_ERROR


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's name for this boot of the machine; empty where there is none."""
    return read_or_empty(path).strip()

"""A bell that wakes a thread waiting in select(2)."""

from __future__ import annotations

import contextlib
import os


class Wake:
    """Any thread may ring; `fd` is readable from then until the waiting thread calls `clear`."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def __del__(self) -> None:
        os.close(self.fd)

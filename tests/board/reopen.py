"""Opens and closes the camera many times, and tells whether that leaks: reopen.py COUNT (on the board)."""

from __future__ import annotations

import gc
import os
import sys
import threading
from dataclasses import dataclass

from edge_agent.config.schema import Picamera2Config
from edge_agent.memory.procfs import read_memory
from edge_agent.sources.picamera2 import Picamera2Source

WARM_UP = 100
"""After so many, what is kept once is kept: caches of Python, arenas of malloc."""
ALLOWED_MB = 2.0


@dataclass(frozen=True)
class Held:
    """What the process holds."""

    files: int
    threads: int
    rss_mb: float


def held() -> Held:
    gc.collect()
    return Held(len(os.listdir("/proc/self/fd")), threading.active_count(), read_memory().rss_mb)  # noqa: PTH208


def main(count: int) -> int:
    source = Picamera2Source(Picamera2Config(), fps=0, timeout_s=60)
    early = held()
    for number in range(1, count + 1):
        source.open()
        source.read()
        source.close()
        if number == WARM_UP:
            early = held()
        if number % 100 == 0:
            print(number, held(), flush=True)
    late = held()
    leaks = (
        late.files > early.files or late.threads > early.threads or late.rss_mb > early.rss_mb + ALLOWED_MB
    )
    print("leaks" if leaks else "nothing leaked")
    return leaks


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

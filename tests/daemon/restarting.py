"""Starts a daemon again whenever it wants that, as its service manager does."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edge_agent.errors import EXIT_RESTART
from tests.daemon.process import Daemon


@contextmanager
def restarted(daemon: Daemon, *also: int) -> Iterator[list[int]]:
    """While the block runs; `also` are other codes after which it is started. Yields the codes so far."""
    is_over, codes = threading.Event(), list[int]()

    def follow() -> None:
        while not is_over.is_set():
            try:
                code = daemon.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            codes.append(code)
            if code not in (EXIT_RESTART, *also) or is_over.is_set():
                return
            daemon.start()

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        yield codes
    finally:
        is_over.set()
        follower.join()

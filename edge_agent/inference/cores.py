"""Starts an engine's threads on the cores that it may use: threads inherit the cores of who starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edge_agent.errors import EngineError


@contextmanager
def on_cores(affinity: Sequence[int]) -> Iterator[None]:
    """Run on those cores, or any where there are none given, and then as before.

    Raises EngineError when they are not there or must not be used.
    """
    before = os.sched_getaffinity(0)
    if affinity:
        try:
            os.sched_setaffinity(0, affinity)
        except (OSError, ValueError) as error:
            raise EngineError(f"inference cannot run on the cores {list(affinity)}: {error}") from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

"""`edge-agent` with a source that leaks on purpose, for the tests of the memory budget.

Each frame holds on to LEAK_MB (from the environment) that nothing gives back, until the process takes
UNTIL_MB. The budget's grace after the start is left out, and the next measure is taken after SETTLE_S, so
that a test need not wait for long. The camera of a Raspberry Pi is a fake one.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from edge_agent.config.schema import MemoryConfig, SourceConfig
from edge_agent.frame import Frame
from edge_agent.memory.budget import BudgetPolicy
from edge_agent.memory.procfs import read_memory
from edge_agent.memory.room import Room
from edge_agent.sources import Source
from edge_agent.sources.factory import make_source
from tests.daemon.variant import run_variant
from tests.sources.fake_picamera2 import FakeBoard, install

_MB = 1 << 20


class Leak:
    """Memory that is kept, up to a limit, whatever the source is exchanged for."""

    def __init__(self) -> None:
        self._step_bytes = int(float(os.environ["LEAK_MB"]) * _MB)
        self._until_mb = float(os.environ.get("UNTIL_MB", "600"))
        self._kept: list[bytearray] = []

    def grow(self) -> None:
        if read_memory().rss_mb < self._until_mb:
            self._kept.append(bytearray(b"\1") * self._step_bytes)


class LeakySource:
    """A source whose reader leaks with each frame."""

    def __init__(self, source: Source, leak: Leak) -> None:
        self._source = source
        self._leak = leak

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def description(self) -> str:
        return self._source.description

    def open(self) -> None:
        self._source.open()

    def read(self) -> Frame | None:
        self._leak.grow()
        return self._source.read()

    def close(self) -> None:
        self._source.close()


def impatient(config: MemoryConfig) -> BudgetPolicy:
    settle_s = float(os.environ.get("SETTLE_S", "0.2"))
    return replace(BudgetPolicy.from_config(config), grace_s=0.0, settle_s=settle_s, trim_interval_s=0.5)


def main() -> int:
    leak = Leak()

    def leaky(config: SourceConfig, room: Room) -> Source:
        return LeakySource(make_source(config, room), leak)

    with pytest.MonkeyPatch.context() as patched:
        install(patched, FakeBoard())
        return run_variant(make_source=leaky, budget_policy=impatient)


if __name__ == "__main__":
    sys.exit(main())

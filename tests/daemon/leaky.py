"""`edge-agent` with a source that leaks on purpose, for the tests of the memory budget.

Each frame holds on to LEAK_MB (from the environment) that nothing gives back, up to MOST_MB. The budget's
grace after the start is shortened, so that the test need not wait for it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from unittest.mock import patch

from edge_agent import cli
from edge_agent.config.schema import MemoryConfig, SourceConfig
from edge_agent.frame import Frame
from edge_agent.memory.budget import BudgetPolicy, policy_of
from edge_agent.sources.folder import FolderSource

_MB = 1 << 20
_MOST_MB = 400


class LeakySource(FolderSource):
    """A folder whose reader keeps memory with each picture, up to a limit."""

    def __init__(self, config: SourceConfig) -> None:
        assert config.folder.path is not None
        super().__init__(config.folder.path, loop=True)
        self._leak_bytes = int(float(os.environ["LEAK_MB"]) * _MB)
        self._kept: list[bytearray] = []

    def read(self) -> Frame | None:
        if sum(map(len, self._kept)) < _MOST_MB * _MB:
            self._kept.append(bytearray(b"\1") * self._leak_bytes)
        return super().read()


def impatient(config: MemoryConfig) -> BudgetPolicy:
    return replace(policy_of(config), grace_s=0.0, settle_s=0.2, trim_interval_s=0.5)


if __name__ == "__main__":
    with (
        patch("edge_agent.daemon.agent.make_source", LeakySource),
        patch("edge_agent.daemon.agent.policy_of", impatient),
    ):
        sys.exit(cli.main())

"""A page in front of a fake agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.helpers import Client, FakeAgent, serving


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def client(agent: FakeAgent, tmp_path: Path) -> Iterator[Client]:
    with serving(agent, tmp_path) as running:
        yield running

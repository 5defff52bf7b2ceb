"""Helpers shared by the tests of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.config.problem import Problem


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the text of a configuration file, and returns its path."""

    def _write(text: str) -> Path:
        path = tmp_path / "edge-agent.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def only(problems: tuple[Problem, ...]) -> Problem:
    """The problem, where there must be exactly one."""
    (problem,) = problems
    return problem

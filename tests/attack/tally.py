"""Counts what an attack tried, and prints the table that docs/security.md shows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Tried:
    """One kind of attack: how many cases there were, and what came of them."""

    what: str
    cases: int
    outcome: str


_TRIED = pytest.StashKey[list[Tried]]()


class Tally:
    """Takes the counts of one test."""

    def __init__(self, tried: list[Tried]) -> None:
        self._tried = tried

    def add(self, what: str, cases: int, outcome: str) -> None:
        """Note that `cases` cases were tried, in which nothing happened that must not: say what did."""
        self._tried.append(Tried(what, cases, outcome))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Where an attack notes its counts; printed at the end of the run."""
    return Tally(request.config.stash.setdefault(_TRIED, []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, in Markdown."""
    tried = config.stash.get(_TRIED, [])
    if not tried:
        return
    terminalreporter.section("what was tried")
    terminalreporter.write_line("| attack | cases | outcome |")
    terminalreporter.write_line("|---|---:|---|")
    for row in tried:
        terminalreporter.write_line(f"| {row.what} | {row.cases:,} | {row.outcome} |")

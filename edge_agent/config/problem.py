"""The problems of a configuration file, each with its place, raised as one error."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_agent.errors import ConfigError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that the owner of the file has to change."""

    line: int
    """From 1; 0 for the file as a whole."""
    column: int
    """From 1; 0 for the file as a whole."""
    key: str
    """The setting's dotted key, for instance `mqtt.port`; empty where it is not about one setting."""
    message: str
    hint: str = ""
    """A remedy, for instance "did you mean 'votes'?"; may be empty."""

    def describe(self, file: str) -> str:
        """One line: `edge-agent.yaml:12: mqtt.port: must be 0 to 65535 (found 70000)`."""
        place = f"{file}:{self.line}" if self.line else file
        parts = [place, self.key, self.message] if self.key else [place, self.message]
        return ": ".join(parts) + (f" ({self.hint})" if self.hint else "")


class InvalidConfigError(ConfigError):
    """A configuration file cannot be used; the message lists every problem, a line each."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(problem.describe(file) for problem in self.problems))

    @property
    def summary(self) -> str:
        """The first problem, and how many more there are: for a status line."""
        first = self.problems[0].describe(self.file)
        more = len(self.problems) - 1
        return f"{first}, and {more} more" if more else first

    def log(self, consequence: str) -> None:
        """Log `consequence`, then each problem on a line."""
        _LOG.error("%s", consequence)
        for line in str(self).splitlines():
            _LOG.error("%s", line)

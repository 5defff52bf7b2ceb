"""The problems of a configuration file, each with its place, raised as one error."""

from __future__ import annotations

import logging

from edge_agent.errors import ConfigError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.text import printable

_LOG = logging.getLogger(__name__)
_LONGEST = 500


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
    public: str = ""
    """Key, message and hint without anything that the file holds; empty where nothing can be said."""

    def describe(self, file: str) -> str:
        """One line for the file's owner: `edge-agent.yaml:12: mqtt.port: must be 0 to 65535, not 70000`."""
        parts = [self._place(file), self.key, self.message] if self.key else [self._place(file), self.message]
        return printable(": ".join(parts) + (f" ({self.hint})" if self.hint else ""), _LONGEST)

    def describe_publicly(self, file: str) -> str:
        """One line for logs and MQTT: `edge-agent.yaml:12: mqtt.port: must be 0 to 65535`.

        A refused value is not in it: it may be a password that was written into the wrong setting.
        """
        return printable(f"{self._place(file)}: {self.public or 'cannot be used'}", _LONGEST)

    def _place(self, file: str) -> str:
        return f"{file}:{self.line}" if self.line else file


def in_public(key: str, message: str, hint: str = "") -> str:
    """Join what may be said in public to `mqtt.port: must be 0 to 65535 (a hint)`."""
    text = f"{key}: {message}" if key else message
    return f"{text} ({hint})" if hint else text


def defect(file: str) -> InvalidConfigError:
    """The error for a file that an unexpected exception has stopped the reading of."""
    message = "cannot be used: reading it has failed unexpectedly; please report this, with the agent's log"
    return InvalidConfigError(file, (Problem(0, 0, "", message, public=message),))


class InvalidConfigError(ConfigError):
    """A configuration file cannot be used; the message lists every problem, a line each, without values."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(problem.describe_publicly(file) for problem in self.problems))

    @property
    def details(self) -> str:
        """Every problem, a line each, with what was found there: for the eyes of the file's owner."""
        return "\n".join(problem.describe(self.file) for problem in self.problems)

    @property
    def summary(self) -> str:
        """The first problem, and how many more there are: for a status line."""
        first = self.problems[0].describe_publicly(self.file)
        more = len(self.problems) - 1
        return f"{first}, and {more} more" if more else first

    def log(self, consequence: str) -> None:
        """Log `consequence`, then each problem on a line."""
        _LOG.error("%s", consequence)
        for line in str(self).splitlines():
            _LOG.error("%s", line)

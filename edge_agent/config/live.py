"""The configuration of a running agent: an edit of its file takes effect as a whole, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_agent.config.changes import Changes, diff, unusable
from edge_agent.config.edit import edit_file, write_edited
from edge_agent.config.loader import load, parse
from edge_agent.config.override import overridden
from edge_agent.config.problem import InvalidConfigError, defect
from edge_agent.config.schema import Config
from edge_agent.errors import EdgeAgentError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.log import say_defect

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The file is good: its configuration is now the current one."""

    config: Config
    changes: Changes
    """Compared with the previous one; may be empty."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The file is not good: the configuration stays as it was."""

    error: InvalidConfigError
    """Lists each problem with its line; `error.summary` is short enough for a status line."""


ReloadResult = Accepted | Refused
Veto = Callable[[Config, Changes], None]


def no_veto(config: Config, changes: Changes) -> None:
    """Agrees to everything."""


class LiveConfig:
    """Holds the last good configuration, and why the file differs from it. For one thread at a time."""

    def __init__(
        self,
        path: Path,
        current: Config,
        veto: Veto = no_veto,
        read: Callable[[Path], Config] = load,
        error: InvalidConfigError | None = None,
    ) -> None:
        """`veto` raises EdgeAgentError for a valid configuration that this agent could not run with, for
        instance one whose model is missing: the agent would not survive a restart with it. `error` says why
        the file is not `current`, if it is not so from the start."""
        self._path = path
        self._current = current
        self._veto = veto
        self._read = read
        self._error = error

    @property
    def config(self) -> Config:
        """The last good configuration."""
        return self._current

    @property
    def error(self) -> InvalidConfigError | None:
        """Why the present file was refused; None while it is the current configuration."""
        return self._error

    def reload(self) -> ReloadResult:
        """Read the file again, and make it the current configuration if it is good. Never raises."""
        try:
            config = self._read(self._path)
            changes = diff(self._current, config)
        except InvalidConfigError as error:
            return self._refuse(error)
        except Exception as error:
            return self._refuse_for_defect(error)
        try:
            self._veto(config, changes)
        except EdgeAgentError as error:
            refused = unusable(str(self._path), config, changes, str(error))
            _LOG.error(
                "the agent could not run with the edited configuration: %s", refused.problems[0].message
            )
            return self._refuse(refused)
        except Exception as error:
            return self._refuse_for_defect(error)
        self._current = config
        self._error = None
        return Accepted(config, changes)

    def override(self, settings: Mapping[str, float]) -> Accepted:
        """Change settings, by their dotted names, until the file is read again. Raises ConfigError."""
        config = overridden(self._current, settings)
        changes = diff(self._current, config)
        try:
            self._veto(config, changes)
        except EdgeAgentError:
            raise
        except Exception as error:
            raise self._refuse_for_defect(error).error from None
        self._current = config
        return Accepted(config, changes)

    def patch(self, settings: Mapping[str, Any]) -> str:
        """Write settings, by their dotted names, into the file; returns the text that it held before.

        Only a file that would be accepted is written, and it is not read yet. Raises ConfigError.
        """
        before, text = edit_file(self._path, settings)
        config = parse(text, str(self._path), base=self._path.absolute().parent)
        changes = diff(self._current, config)
        try:
            self._veto(config, changes)
        except EdgeAgentError as error:
            raise unusable(str(self._path), config, changes, str(error)) from None
        write_edited(self._path, text)
        return before

    def write(self, text: str) -> None:
        """Give the file the text that it had before. Raises ConfigError."""
        write_edited(self._path, text)

    def revert(self, config: Config, error: Exception) -> InvalidConfigError:
        """Go back to `config`, since the one in force could not be applied; returns what to say of that."""
        self._current = config
        return self._refuse_for_defect(error).error

    def _refuse_for_defect(self, error: Exception) -> Refused:
        say_defect(_LOG, "taking over the edited configuration has failed unexpectedly", error)
        return self._refuse(defect(str(self._path)))

    def _refuse(self, error: InvalidConfigError) -> Refused:
        self._error = error
        return Refused(error)

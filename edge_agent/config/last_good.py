"""Keeps a copy of the configuration that last worked, to start from when the file cannot be used."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_agent.config.document import read_text
from edge_agent.config.loader import parse
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.schema import Config
from edge_agent.system.files import write_atomic
from edge_agent.system.log import say, say_defect

_LOG = logging.getLogger(__name__)


class LastGood:
    """The copy of one configuration file."""

    def __init__(self, copy: Path, config_file: Path) -> None:
        self._copy = copy
        self._config_file = config_file

    def load(self) -> Config | None:
        """Return the configuration in the copy; None where there is no usable one."""
        try:
            return self._parse(read_text(self._copy))
        except InvalidConfigError:
            return None
        except Exception as error:
            say_defect(_LOG, "reading the last good configuration has failed unexpectedly", error)
            return None

    def keep(self, config: Config) -> None:
        """Copy the file, provided that it means `config`. A copy that is the same is left as it is.

        The copy may hold passwords: only its owner can read it.
        """
        try:
            text = read_text(self._config_file)
            if self._parse(text) != config:
                return
        except InvalidConfigError:
            return
        except Exception as error:
            say_defect(_LOG, "reading the good configuration again has failed unexpectedly", error)
            return
        try:
            if not self._copy.exists() or self._copy.read_text(encoding="utf-8") != text:
                write_atomic(self._copy, text, mode=0o600)
        except (OSError, UnicodeDecodeError) as error:
            say(_LOG, logging.WARNING, "the good configuration could not be kept", error=str(error))

    def _parse(self, text: str) -> Config:
        # Resolve relative paths against the original file's folder.
        return parse(text, str(self._copy), base=self._config_file.absolute().parent)

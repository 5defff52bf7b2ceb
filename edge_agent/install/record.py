"""What is known on disk of the models that came from elsewhere: which is in use, tried, or was before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Literal

from edge_agent.install.trial import Wellbeing
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.files import write_atomic
from edge_agent.system.json_reader import matching, parse, read

State = Literal["downloading", "checking", "trial", "installed", "refused", "taken back"]

# The name of a directory beside the record: nothing else may be reached by it. Empty for model.path itself.
Place = Annotated[str, matching(r"|[a-z0-9_][a-z0-9_-]{0,60}", "a directory's name")]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the latest model that was asked for."""

    state: State
    sha256: str
    """That of its bundle."""
    at_s: float
    """Since 1970, in seconds."""
    model: str = ""
    """Its name and the beginning of its hash; empty before that is known."""
    why: str = ""
    """Why it was refused or taken back; else what else there is to say."""
    group: str = ""
    """The group that gave it; empty where it was asked for by a request."""
    again: bool = False
    """Whether another try may succeed."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A model that is in use and has not shown yet that it is no worse."""

    former: Place
    """What was in use before."""
    before: Wellbeing
    starts: int = 0
    """How often the agent has started with it."""


@dataclass(frozen=True, slots=True)
class Record:
    """Of the agent whose configuration has `configured` as its model.path."""

    configured: str = ""
    in_use: Place = ""
    former: Place = ""
    """What was in use before, and is kept."""
    own: Place | None = None
    """What was in use before a group gave another; None where no group gives one."""
    bundles: Mapping[str, Place] = field(default_factory=dict)
    """The SHA-256 of bundles, and where each was unpacked."""
    trial: Trial | None = None
    outcome: Outcome | None = None

    def place_for(self, configured: Path) -> Place:
        """What the agent with that model.path runs; empty for model.path itself."""
        return self.in_use if self.configured == str(configured) else ""

    @property
    def kept(self) -> frozenset[str]:
        """The places that must stay."""
        tried = {self.trial.former} if self.trial else set()
        return frozenset({self.in_use, self.former, self.own or "", *tried} - {""})


def load(file: Path) -> Record:
    """Raises OSError, also FileNotFoundError, and JsonError."""
    return read(Record, parse(file.read_bytes()))


def save(file: Path, record: Record) -> None:
    """Write it whole or not at all, also where the power fails. Raises OSError."""
    write_atomic(file, json.dumps(asdict(record), indent=2) + "\n", 0o600)

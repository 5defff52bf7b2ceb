"""How a setting is declared: default, documentation, limits, and what the agent does when it changes."""

from __future__ import annotations

import enum
from dataclasses import field
from functools import partial
from typing import Any

from edge_agent.lean_dataclass import dataclass


class Apply(enum.Enum):
    """What the running agent does when the value changes."""

    LIVE = "applied at once"
    SOURCE = "reopens the camera"
    BROKER = "reconnects to the broker"
    RESTART = "restarts the agent"


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting."""

    doc: str
    """One or two sentences for the owner of the device, shown above the setting in the shipped file."""
    apply: Apply
    at_least: float | None = None
    at_most: float | None = None
    """Both limits belong to the range; in a list they apply to each member."""
    pattern: str | None = None
    """A regular expression that the whole string must match."""
    pattern_help: str = ""
    """What `pattern` means, in words: used in the error message."""
    keeps_bare_name: bool = False
    """A path without a slash is a name to look up elsewhere, not a file beside the configuration."""


def setting(
    default: Any,
    doc: str,
    *,
    apply: Apply | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    pattern: str | None = None,
    pattern_help: str = "",
    keeps_bare_name: bool = False,
) -> Any:
    """Declare a field of a configuration dataclass; the parameters are those of `Setting`.

    Without `apply`, that of the class holds: its `APPLY`.
    """
    declared = partial(
        Setting,
        doc,
        at_least=at_least,
        at_most=at_most,
        pattern=pattern,
        pattern_help=pattern_help,
        keeps_bare_name=keeps_bare_name,
    )
    metadata = {"setting": declared, "apply": apply}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def section(kind: type, doc: str) -> Any:
    """Declare a nested section, made of its own defaults."""
    return field(default_factory=kind, metadata={"section": doc})

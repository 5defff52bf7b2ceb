"""How one setting is declared: its default, its documentation, its limits, and what a change of it takes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class Apply(enum.Enum):
    """What the running agent does when the value changes."""

    LIVE = "applied at once"
    SOURCE = "reopens the camera"
    BROKER = "reconnects to the broker"
    RESTART = "restarts the agent"


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting, kept in the metadata of its dataclass field."""

    doc: str
    """One or two sentences for the owner of the device, shown above the setting in the shipped file."""
    apply: Apply
    at_least: float | None = None
    at_most: float | None = None
    """Both limits belong to the range; in a list they hold for each member."""
    pattern: str | None = None
    """A regular expression that the whole string must match."""
    pattern_help: str = ""
    """What `pattern` means, in words: used in the error message."""
    keeps_bare_name: bool = False
    """A path without a slash is a name to be looked up elsewhere, not a file beside the configuration."""


def setting(
    default: Any,
    doc: str,
    *,
    apply: Apply,
    at_least: float | None = None,
    at_most: float | None = None,
    pattern: str | None = None,
    pattern_help: str = "",
    keeps_bare_name: bool = False,
) -> Any:
    """Declare a field of a configuration dataclass; the parameters are those of `Setting`."""
    declared = Setting(doc, apply, at_least, at_most, pattern, pattern_help, keeps_bare_name)
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"setting": declared})
    return field(default=default, metadata={"setting": declared})


def section(kind: type, doc: str) -> Any:
    """Declare a nested section, made of its own defaults."""
    return field(default_factory=kind, metadata={"section": doc})

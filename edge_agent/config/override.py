"""Settings that may be changed without the file, until it is read again: a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edge_agent.config.rules import RULES
from edge_agent.config.schema import Config
from edge_agent.config.setting import Setting
from edge_agent.config.tree import leaves
from edge_agent.config.values import BadValueError, within
from edge_agent.errors import ConfigError
from edge_agent.system.text import printable

SETTABLE = ("source.fps", "stabilizer.threshold")


def overridden(config: Config, settings: Mapping[str, float]) -> Config:
    """Return `config` with these settings, by their dotted names. Raises ConfigError for one that may not be
    set, or not to that value."""
    if not settings:
        raise ConfigError(f"name a setting and its value: those that can be set are {', '.join(SETTABLE)}")
    for key, value in settings.items():
        if key not in SETTABLE:
            raise ConfigError(f"{printable(key, 40)} cannot be set: those that can are {', '.join(SETTABLE)}")
        try:
            number = float(within(value, declared(config, key)))
        except BadValueError as error:
            raise ConfigError(f"{key} {error.message}") from error
        config = _with(config, key.split("."), number)
    for rule in RULES:
        for violation in rule(config):
            if not settings.keys().isdisjoint(violation.keys):
                raise ConfigError(f"{violation.keys[0]} {violation.message}")
    return config


def declared(config: Config, key: str) -> Setting:
    """The declaration of the setting with that dotted name."""
    return next(leaf.setting for leaf in leaves(config) if leaf.key == key)


def _with(section: Any, path: list[str], value: float) -> Any:
    name, *rest = path
    return replace(section, **{name: _with(getattr(section, name), rest, value) if rest else value})

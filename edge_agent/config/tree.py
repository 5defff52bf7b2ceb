"""Walks the schema: the members of a section, and every setting of a configuration with its dotted key."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import Field, fields
from functools import cache
from typing import Any

from edge_agent.config.setting import Setting
from edge_agent.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """A setting of a section, or a section inside it."""

    name: str
    kind: Any
    """Its type as annotated: a dataclass for a section."""
    doc: str
    setting: Setting | None
    """None for a section."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A setting with its place and value in a configuration."""

    key: str
    """Dotted: `mqtt.tls.enabled`."""
    kind: Any
    setting: Setting
    value: Any


@cache
def members(section: type) -> tuple[Member, ...]:
    """The members of a section's dataclass, in order."""
    kinds = typing.get_type_hints(section)
    return tuple(_member(section, part, kinds[part.name]) for part in fields(section))


def _member(section: Any, part: Field[Any], kind: Any) -> Member:
    if "section" in part.metadata:
        return Member(part.name, kind, part.metadata["section"], None)
    setting: Setting = part.metadata["setting"](apply=part.metadata["apply"] or section.APPLY)
    return Member(part.name, kind, setting.doc, setting)


def leaves(config: Any, prefix: str = "") -> Iterator[Leaf]:
    """Yield every setting of a configuration (or section), in the order of the schema."""
    section: Any = type(config)
    for member in members(section):
        value = getattr(config, member.name)
        key = f"{prefix}{member.name}"
        if member.setting is None:
            yield from leaves(value, f"{key}.")
        else:
            yield Leaf(key, member.kind, member.setting, value)

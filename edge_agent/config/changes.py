"""Compares two configurations, and says what the running agent must do about each difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edge_agent.config.render import shown
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.config.tree import Leaf, leaves


@dataclass(frozen=True, slots=True)
class Change:
    """A setting whose value differs."""

    key: str
    """Dotted: `mqtt.port`."""
    old: Any
    new: Any
    """Both as plain JSON values; secrets are masked."""
    apply: Apply


@dataclass(frozen=True, slots=True)
class Changes:
    """The settings that differ, in the order of the schema."""

    changed: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changed)

    @property
    def kinds(self) -> frozenset[Apply]:
        """Everything that has to be done; a RESTART covers the rest."""
        return frozenset(change.apply for change in self.changed)

    def touches(self, prefix: str) -> bool:
        """Whether the setting `prefix`, or one in the section of that name, differs."""
        return any(f"{change.key}.".startswith(f"{prefix}.") for change in self.changed)

    def describe(self) -> str:
        """The keys in one line, for the log."""
        return ", ".join(change.key for change in self.changed)


def diff(old: Config, new: Config) -> Changes:
    """Return what differs in `new`. A change to a kind of source that neither uses reopens nothing."""
    used: set[str] = {old.source.type, new.source.type}
    return Changes(
        tuple(
            Change(before.key, shown(before), shown(after), _apply(after, used))
            for before, after in zip(leaves(old), leaves(new), strict=True)
            if before.value != after.value
        )
    )


def _apply(leaf: Leaf, used_sources: set[str]) -> Apply:
    section, _, rest = leaf.key.partition(".")
    kind, is_of_kind, _ = rest.partition(".")
    if section == "source" and is_of_kind and kind not in used_sources:
        return Apply.LIVE
    return leaf.setting.apply

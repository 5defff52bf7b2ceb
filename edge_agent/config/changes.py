"""Compares two configurations, and says what the running agent must do about each difference."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from edge_agent.config.problem import InvalidConfigError, Problem, in_public
from edge_agent.config.render import shown
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.config.tree import Leaf, leaves
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.secret import MASK
from edge_agent.system.text import printable


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


def unusable(file: str, config: Config, changes: Changes, reason: str) -> InvalidConfigError:
    """The error for a valid configuration that the agent could not run with.

    In public it names the changed settings alone; the problem's message is `reason` without their values.
    """
    masked = without_values(reason, config, changes)
    public = in_public(changes.describe(), "the agent could not run with that", "its log says why")
    return InvalidConfigError(file, (Problem(0, 0, "", masked, public=public),))


def without_values(message: str, config: Config, changes: Changes) -> str:
    """Mask what `message` quotes of the changed settings of `config`: any may be a misplaced password.

    Of a path, what exists on this machine is no secret, and stays.
    """
    changed = {change.key for change in changes}
    masks = dict(mask for leaf in leaves(config) if leaf.key in changed for mask in _masks(leaf))
    for text in sorted(masks, key=len, reverse=True):
        for written in (text, repr(text)[1:-1], printable(text)):
            pattern = rf"(?<!\w){re.escape(written)}(?!\w)"
            message = re.sub(pattern, lambda _, text=text: masks[text], message)  # type: ignore[misc]
    return message


def _masks(leaf: Leaf) -> Iterator[tuple[str, str]]:
    """The texts of a setting that its owner chose, each with what is shown for it."""
    if typing.get_origin(leaf.kind) is Literal:
        return
    value = leaf.value
    texts = (*value, *value.values()) if isinstance(value, dict) else value
    for text in texts if isinstance(texts, tuple) else (texts,):
        if isinstance(text, Path):
            yield str(text), _existing(text)
        elif isinstance(text, str) and text:
            yield text, MASK


def _existing(path: Path) -> str:
    """A path, with a mask for the part of it that does not exist."""
    for known in (path, *path.parents) if path.is_absolute() else ():
        with suppress(OSError):
            if known.exists():
                return str(known if known == path else known / MASK)
    return MASK


def _apply(leaf: Leaf, used_sources: set[str]) -> Apply:
    section, _, rest = leaf.key.partition(".")
    kind, is_of_kind, _ = rest.partition(".")
    if section == "source" and is_of_kind and kind not in used_sources:
        return Apply.LIVE
    return leaf.setting.apply

"""Reads the configuration file into a `Config`, or lists everything that is wrong with it."""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Container, Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from edge_agent.config.document import compose, read_text
from edge_agent.config.problem import InvalidConfigError, Problem, in_public
from edge_agent.config.rules import RULES, Rule
from edge_agent.config.schema import Config
from edge_agent.config.setting import Setting
from edge_agent.config.tree import Member, members
from edge_agent.config.values import (
    BadValueError,
    convert,
    found,
    is_null,
    refuse_extras,
    shorten,
)
from edge_agent.errors import UsageError
from edge_agent.system.paths import SYSTEM_CONFIG
from edge_agent.system.suggest import closest, did_you_mean

_PLAIN_NAME = re.compile("[A-Za-z_-]+")


def load(path: Path, *, hostname: str | None = None) -> Config:
    """Read, parse and check the file at `path`; paths in it are relative to its folder.

    An empty `device_id` is filled in from `hostname` (default: the name of this host).
    Raises InvalidConfigError with every problem found.
    """
    return parse(read_text(path), str(path), base=path.absolute().parent, hostname=hostname)


def load_given(path: Path | None) -> Config:
    """Read the file that a command was given, else the installed agent's. Raises what `load` raises, and
    UsageError where there is neither."""
    if path is None and not SYSTEM_CONFIG.exists():
        raise UsageError(f"there is no {SYSTEM_CONFIG}: name the configuration with --config FILE")
    return load(path or SYSTEM_CONFIG)


def parse(text: str, name: str, *, base: Path | None = None, hostname: str | None = None) -> Config:
    """Parse and check the text of a configuration file, called `name` in messages.

    Paths in it are relative to `base` (default: the current directory). Raises InvalidConfigError.
    """
    root = compose(text, name)
    reader = _Reader(text, Path.cwd() if base is None else base)
    config = typing.cast(Config, reader.section(Config, root, ""))
    for rule in RULES:
        reader.apply(rule, config)
    if reader.problems:
        raise InvalidConfigError(name, tuple(reader.problems))
    if config.device_id:
        return config
    return replace(config, device_id=device_id_from(os.uname().nodename if hostname is None else hostname))


def device_id_from(hostname: str) -> str:
    """Make a device id of the first part of a host's name: `Küche 2.local` becomes `K-che-2`."""
    usable = re.sub(r"[^a-zA-Z0-9_-]+", "-", hostname.partition(".")[0]).strip("-")
    return usable[:64] or "edge-agent"


class _Reader:
    """Reads YAML nodes by the schema, and notes every problem with its place."""

    def __init__(self, text: str, base: Path) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._base = base
        self._owners_names: list[str] = []  # the keys below which names are the owner's
        self._given: dict[str, yaml.Node] = {}  # the keys that are in the file, and where
        self._bad: set[str] = set()

    def section(self, kind: type, node: yaml.Node, prefix: str) -> Any:
        """Return a section's dataclass. Settings that are missing or wrong keep their default."""
        section_key = prefix.rstrip(".")
        if is_null(node):
            return kind()
        try:
            refuse_extras(node)
            if not isinstance(node, yaml.MappingNode):
                raise BadValueError("must be a section of settings", found=found(node))
        except BadValueError as error:
            self._refuse(node, section_key, error)
            return kind()
        known = {member.name: member for member in members(kind)}
        values: dict[str, Any] = {}
        for name, key_node, value_node in self._entries(node, section_key, known):
            key = f"{prefix}{name}"
            if name not in known:
                self._refuse_unknown(key_node, name, list(known), prefix)
                continue
            self._given[key] = key_node
            try:
                values[name] = self._member(known[name], value_node, key)
            except BadValueError as error:
                self._refuse(value_node, key, error)
        return kind(**values)

    def apply(self, rule: Rule, config: Config) -> None:
        """Note where `config` breaks a rule between settings that are valid on their own."""
        for violation in rule(config):
            if self._bad.isdisjoint(violation.keys):
                node = self._nearest(violation.keys)
                key, message, hint = violation.keys[0], violation.message, violation.hint
                public = in_public(
                    self._public(key), violation.public or message, "" if violation.public else hint
                )
                self._note(node, key, message, hint, public)

    def _member(self, member: Member, node: yaml.Node, key: str) -> Any:
        if member.setting is None:
            return self.section(member.kind, node, f"{key}.")
        origin = typing.get_origin(member.kind)
        if origin is tuple:
            kind, _ = typing.get_args(member.kind)
            return self._list(node, kind, member.setting, key)
        if origin is dict:
            _, kind = typing.get_args(member.kind)
            if is_dataclass(kind):
                return self._named_sections(node, kind, member.setting, key)
            return self._mapping(node, kind, member.setting, key)
        return convert(node, self._text, member.kind, member.setting, self._base)

    def _list(self, node: yaml.Node, kind: Any, setting: Setting, key: str) -> tuple[Any, ...]:
        if is_null(node):
            return ()
        refuse_extras(node)
        if not isinstance(node, yaml.SequenceNode):
            raise BadValueError("must be a list", "write [one, two], or [] for none", found=found(node))
        items = ((f"{key}[{index}]", item) for index, item in enumerate(node.value))
        converted = (self._item(item, kind, setting, key, item_key) for item_key, item in items)
        return tuple(item for item in converted if item is not None)  # the others are noted

    def _mapping(self, node: yaml.Node, kind: Any, setting: Setting, key: str) -> dict[str, Any]:
        if is_null(node):
            return {}
        refuse_extras(node)
        if not isinstance(node, yaml.MappingNode):
            raise BadValueError("must be pairs", "write {this: that}, or {} for none", found=found(node))
        return {
            name: self._item(value, kind, setting, key, f"{key}.{shorten(name)}")
            for name, _, value in self._entries(node, key, ())
        }

    def _named_sections(self, node: yaml.Node, kind: Any, setting: Setting, key: str) -> dict[str, Any]:
        """Sections under names of the owner's choice, which are not said in public."""
        if is_null(node):
            return {}
        refuse_extras(node)
        if not isinstance(node, yaml.MappingNode):
            raise BadValueError("must be named sections, or {} for none", found=found(node))
        self._owners_names.append(f"{key}.")
        sections: dict[str, Any] = {}
        for name, key_node, value in self._entries(node, key, ()):
            if not re.fullmatch(setting.pattern or ".*", name):
                wrong = BadValueError(f"a name must be {setting.pattern_help}")
                self._refuse(key_node, f"{key}.{shorten(name)}", wrong)
                continue
            self._given[f"{key}.{name}"] = key_node
            sections[name] = self.section(kind, value, f"{key}.{name}.")
        return sections

    def _item(self, node: yaml.Node, kind: Any, setting: Setting, key: str, item_key: str) -> Any:
        try:
            return convert(node, self._text, kind, setting, self._base)
        except BadValueError as error:
            self._refuse(node, item_key, error, known_key=key)
            self._bad.add(key)
            return None

    def _entries(
        self, node: yaml.MappingNode, key: str, known: Container[str]
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Yield the pairs of the mapping at `key` whose names are texts, each name once.

        Names that are not `known` are the owner's, and are not said in public.
        """
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            try:
                refuse_extras(key_node)
                if not isinstance(key_node, yaml.ScalarNode):
                    raise BadValueError("a name must be a text", found=found(key_node))
            except BadValueError as error:
                self._refuse(key_node, key, error)
                continue
            name = key_node.value
            if name in lines:
                twice = BadValueError(f"is given twice, first on line {lines[name]}", "remove one of them")
                whole = _joined(key, name)
                self._refuse(key_node, whole, twice, known_key=whole if name in known else key)
                continue
            lines[name] = key_node.start_mark.line + 1
            yield name, key_node, value_node

    def _refuse_unknown(self, node: yaml.Node, name: str, siblings: list[str], prefix: str) -> None:
        """Note a name that is no setting. In public it is repeated only where it is nearly one: a text that
        is at the wrong place may be a password."""
        key, hint = f"{prefix}{_without_value(name)}", _suggest(name, siblings, prefix)
        known = name in _all_names() or closest(name, siblings, at_least=0.8)
        if known and _PLAIN_NAME.fullmatch(name):
            public = in_public(self._public(key), "is not a setting", hint)
        else:
            section_key = self._public(prefix.rstrip("."))
            public = in_public(section_key, "has a name that is not a setting", hint)
        self._note(node, key, "is not a setting", hint, public)
        self._bad.add(key)

    def _nearest(self, keys: tuple[str, ...]) -> yaml.Node | None:
        """The node of the first of `keys` that the file gives."""
        return next((self._given[key] for key in keys if key in self._given), None)

    def _refuse(self, node: yaml.Node, key: str, error: BadValueError, known_key: str | None = None) -> None:
        """Note a value that cannot be used, and skip the rules about it, which would only confuse.

        `known_key` is the key in public, where `key` has a name in it that the owner chose.
        """
        public_key = self._public(key if known_key is None else known_key)
        public = in_public(public_key, error.expected, error.hint)
        self._note(node, key, error.message, error.full_hint, public)
        self._bad.add(key)

    def _public(self, key: str) -> str:
        """The key without names of the owner's: `regions` for `regions.gate.box`."""
        return next((above[:-1] for above in self._owners_names if key.startswith(above)), key)

    def _note(self, node: yaml.Node | None, key: str, message: str, hint: str, public: str) -> None:
        mark = node.start_mark if node else None
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        self.problems.append(Problem(line, column, key, message, hint, public))


def _joined(key: str, name: str) -> str:
    return f"{key}.{shorten(name)}" if key else shorten(name)


def _without_value(name: str) -> str:
    """The name alone where a space is missing behind it: of `password:secret`, only `password:...`."""
    found = re.search("[:=]", name)
    return shorten(name) if found is None else f"{shorten(name[: found.end()])}..."


def _suggest(name: str, siblings: list[str], prefix: str) -> str:
    """Name the setting that was probably meant: the same name in another section, else a similar one here."""
    elsewhere = [key for key in _all_keys(Config, "") if key.rpartition(".")[2] == name]
    if elsewhere:
        near = [key for key in elsewhere if key.startswith(prefix)] or elsewhere
        return "did you mean " + " or ".join(f"'{key}'" for key in near[:2]) + "?"
    if hint := did_you_mean(name, siblings):
        return hint
    where = f"{prefix.rstrip('.')} has" if prefix else "there are"
    return f"{where} {', '.join(siblings)}"


def _all_names() -> set[str]:
    return {key.rpartition(".")[2] for key in _all_keys(Config, "")}


def _all_keys(section: type, prefix: str) -> Iterator[str]:
    for member in members(section):
        key = f"{prefix}{member.name}"
        yield key
        if member.setting is None:
            yield from _all_keys(member.kind, f"{key}.")

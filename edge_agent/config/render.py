"""Shows a configuration: as masked JSON, as the commented file that ships, and as the table of the manual.

Run as a module in a checkout, it rewrites the shipped file and the manual's table from the schema.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.config.schema import Config
from edge_agent.config.setting import Setting
from edge_agent.config.tree import Leaf, leaves, members
from edge_agent.config.values import limits
from edge_agent.system.secret import MASK, Secret

_COMMENT_WIDTH = 100
_INDENT = "  "
_TABLE = ("<!-- settings: begin -->\n", "<!-- settings: end -->\n")

_HEADER = """\
# The settings of edge-agent. Each is shown with its default; one that is left out keeps it.
# Behind a setting: its limits, and what the running agent does when it is changed.
#
# The agent sees when this file is saved. A file with an error in it is refused whole: the agent goes
# on with the settings it had and says what is wrong, as `edge-agent check-config FILE` does.
# Relative paths are relative to this file's folder.
"""

# Text that YAML reads as it stands; anything else is quoted.
_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_NOT_BARE = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


def masked(config: Config) -> dict[str, Any]:
    """Return the configuration as plain JSON values, nested as in the file, with its secrets masked."""
    plain: dict[str, Any] = {}
    for leaf in leaves(config):
        *sections, name = leaf.key.split(".")
        place = plain
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = shown(leaf)
    return plain


def shown(leaf: Leaf) -> Any:
    """Return a setting's value as a plain JSON value; a secret is masked.

    So is the bare name of one: the secret itself may have been written there.
    """
    value = leaf.value
    if isinstance(value, Secret):
        return value.shown()
    if isinstance(value, Path) and leaf.setting.keeps_bare_name and len(value.parts) == 1:
        return MASK
    if isinstance(value, Path | None):
        return str(value or "")
    return _plain(value)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {leaf.key: shown(leaf) for leaf in leaves(value)}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def commented_yaml(config: Config) -> str:
    """Return the configuration as a YAML file for its owner to edit, with every setting explained.

    Secrets are not masked, since this file is where they are kept.
    """
    return "\n".join([_HEADER.rstrip("\n"), *_section_lines(config, "")]) + "\n"


def settings_table(config: Config) -> str:
    """Return a Markdown table of every setting, for the manual; `config` gives the defaults."""
    head = "| setting | default | values | a change | |\n|---|---|---|---|---|\n"
    return head + "".join(_table_row(leaf) for leaf in leaves(config))


def with_settings_table(manual: str, config: Config) -> str:
    """Return the manual's text with the settings table between its two marks brought up to date."""
    begin, end = _TABLE
    before, rest = manual.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}{settings_table(config)}{end}{after}"


def describe_values(kind: Any, setting: Setting) -> str:
    """Say which values are allowed: `one of tcp, udp`, `0 to 65535`, `true or false`; empty for any text."""
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(typing.get_args(kind))}"
    if kind is bool:
        return "true or false"
    if typing.get_origin(kind) is tuple:
        return f"a list of numbers, {limits(setting)}" if limits(setting) else "a list"
    if typing.get_origin(kind) is dict:
        return "sections by name" if is_dataclass(typing.get_args(kind)[1]) else "pairs"
    return limits(setting) or setting.pattern_help


def _section_lines(section: Any, indent: str) -> Iterator[str]:
    kind: Any = type(section)
    for member in members(kind):
        value = getattr(section, member.name)
        if not indent or member.setting is None:
            yield ""
        yield from _comment(member.doc, indent)
        if member.setting is None:
            yield f"{indent}{member.name}:"
            yield from _section_lines(value, indent + _INDENT)
        else:
            yield f"{indent}{member.name}: {yaml_value(value)}  # {_note(member.kind, member.setting)}"


def _note(kind: Any, setting: Setting) -> str:
    values = "" if kind is bool else describe_values(kind, setting)
    return f"{values}; {setting.apply.value}" if values else setting.apply.value


def _comment(text: str, indent: str) -> list[str]:
    import textwrap

    prefix = f"{indent}# "
    width = _COMMENT_WIDTH - len(prefix)
    return [prefix + line for line in textwrap.wrap(text, width, break_on_hyphens=False)]


def yaml_value(value: Any) -> str:
    """Return a setting's value as YAML that stands in one line, and that the loader reads as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(yaml_value(item) for item in value)}]"
    if is_dataclass(value):
        value = {leaf.key: leaf.value for leaf in leaves(value)}
    if isinstance(value, dict):
        return f"{{{', '.join(f'{yaml_value(name)}: {yaml_value(item)}' for name, item in value.items())}}}"
    text = str(value or "")
    if _BARE.fullmatch(text) and text.lower() not in _NOT_BARE:
        return text
    return json.dumps(text, ensure_ascii=False)


def _table_row(leaf: Leaf) -> str:
    cells = (
        f"`{leaf.key}`",
        f"`{yaml_value(leaf.value)}`",
        describe_values(leaf.kind, leaf.setting),
        leaf.setting.apply.value,
        leaf.setting.doc,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _rewrite(checkout: Path) -> None:
    defaults = Config()
    (checkout / "config/edge-agent.yaml").write_text(commented_yaml(defaults), encoding="utf-8")
    manual = checkout / "docs/configuration.md"
    manual.write_text(with_settings_table(manual.read_text(encoding="utf-8"), defaults), encoding="utf-8")


if __name__ == "__main__":
    _rewrite(Path())

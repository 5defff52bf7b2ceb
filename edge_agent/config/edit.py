"""Changes settings in the text of a configuration file; comments, order and all other lines stay."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import yaml

from edge_agent.config.document import MAX_BYTES, compose, read_text
from edge_agent.config.loader import parse
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.render import yaml_value
from edge_agent.config.schema import Config
from edge_agent.config.setting import Apply
from edge_agent.config.tree import Leaf, leaves
from edge_agent.config.values import is_null
from edge_agent.errors import ConfigError
from edge_agent.system.files import write_atomic
from edge_agent.system.text import printable

_OWNERS = ("control", "fleet", "web")  # sections that say what others may do
_INDENT = 2
_MOST = 100  # settings at a time
_DEEPEST = 3  # pairs in pairs, and a list in those: regions


def edited(text: str, name: str, settings: Mapping[str, Any], *, base: Path | None = None) -> str:
    """Return the text of a configuration file with these settings, by their dotted names.

    Values are JSON's: numbers, texts, true, false, lists, objects. The result is read again: it means the
    same as before but for the settings given, or is refused. `name` and `base` are those of
    `edge_agent.config.loader.parse`. Raises InvalidConfigError, which lists every problem, or ConfigError.
    """
    known = {leaf.key: leaf for leaf in leaves(parse(text, name, base=base))}
    if not settings or len(settings) > _MOST:
        raise ConfigError(f'name 1 to {_MOST} settings and their values, such as {{"source.fps": 2}}')
    for key, value in settings.items():
        if key not in known:
            raise ConfigError(f"{printable(key, 80)} is not a setting")
        text = _changed(text, name, known[key], _plain(value, known[key]), base)
    if len(text.encode()) > MAX_BYTES:
        raise ConfigError(f"the file would be larger than {MAX_BYTES // 1024} KiB")
    _refuse_other_changes(known, parse(text, name, base=base), settings)
    return text


def refuse_not_remote(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting that nobody but the file's owner may change.

    Others may change what is applied at once: it can be taken back the same way. What they may do at all is
    for the owner to say.
    """
    for leaf in leaves(Config()):
        section = leaf.key.partition(".")[0]
        if leaf.key in settings and (leaf.setting.apply is not Apply.LIVE or section in _OWNERS):
            raise ConfigError(f"{leaf.key} can be changed in the device's own file only")


def write_edited(path: Path, text: str) -> None:
    """Replace the file, or the one that the link at `path` leads to; who may read and own it stays so.

    Raises ConfigError, and then leaves what was there.
    """
    target = path.resolve()
    try:
        write_atomic(target, text, 0o600, like=target.stat())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}; the agent's user needs to write to it and to its"
            " folder (for the service: `ReadWritePaths=` with `systemctl edit edge-agent`)"
        ) from error


def edit_file(path: Path, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the file holds, and what it would hold with these settings; see `edited`."""
    before = read_text(path)
    return before, edited(before, str(path), settings, base=path.absolute().parent)


def _plain(value: Any, leaf: Leaf, depth: int = 0) -> Any:
    """A value of JSON as the renderer takes it. Raises ConfigError for one that no setting has."""
    if isinstance(value, list) and depth < _DEEPEST:
        return tuple(_plain(item, leaf, depth + 1) for item in value)
    if isinstance(value, dict) and depth < _DEEPEST:
        return {name: _plain(item, leaf, depth + 1) for name, item in value.items()}
    return _scalar(value, leaf)


def _scalar(value: Any, leaf: Leaf) -> Any:
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{leaf.key} takes a number, a text, true or false, or a list or pairs of these")
    # Others write 3.0 for 3: JSON knows one kind of number.
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return int(value) if is_whole and int in (leaf.kind, *typing.get_args(leaf.kind)) else value


def _refuse_other_changes(before: Mapping[str, Leaf], config: Config, settings: Mapping[str, Any]) -> None:
    """Whatever is odd about how a file is written, no edit may change what it was not asked to."""
    for leaf in leaves(config):
        if leaf.key not in settings and leaf.value != before[leaf.key].value:
            keys = ", ".join(settings)
            raise ConfigError(f"{keys} cannot be changed without changing {leaf.key}: edit the file by hand")


def _changed(text: str, name: str, leaf: Leaf, value: Any, base: Path | None) -> str:
    """The text with one setting. Of pairs below their name, those that stay keep their lines and comments."""
    path = leaf.key.split(".")
    whole = _with(text, name, path, yaml_value(value))
    node = _node(compose(text, name), path)
    if not (value and isinstance(value, dict) and _is_block(node)):
        return whole
    by_pairs = _with_pairs(text, name, path, leaf.value, value)
    try:
        meant = _value(whole, name, leaf.key, base)
    except InvalidConfigError:
        return by_pairs  # it will be refused, with the lines of what stays
    try:
        return by_pairs if _value(by_pairs, name, leaf.key, base) == meant else whole
    except InvalidConfigError:  # written in an odd way
        return whole


def _value(text: str, name: str, key: str, base: Path | None) -> Any:
    return next(leaf.value for leaf in leaves(parse(text, name, base=base)) if leaf.key == key)


def _with_pairs(text: str, name: str, path: list[str], before: Any, asked: Mapping[str, Any]) -> str:
    """The text with those of the pairs at `path` exchanged, added and removed that are not as they were.

    `before` is what they mean now: a mapping, or the dataclass of a section that has a name.
    """
    known = _members(before)
    node = _block_at(text, name, path)
    written = [key.value for key, _ in node.value]
    for entry in asked:
        if entry not in written:
            text = _inserted(text, _block_at(text, name, path), [yaml_value(entry)], yaml_value(asked[entry]))
    node = _block_at(text, name, path)
    # From the last to the first, so that the places of those before stay true.
    for key, value in reversed(node.value):
        entry = key.value
        if entry not in written or (entry in known and _is_same(known[entry], _asked(before, asked, entry))):
            continue
        if entry not in asked:
            text = _without_lines(text, key, value)
        elif _is_block(value) and isinstance(asked[entry], dict) and asked[entry]:
            text = _with_pairs(text, name, [*path, entry], known[entry], asked[entry])
        else:
            text = _replaced(text, key, value, yaml_value(asked[entry]))
    return text


def _members(value: Any) -> Mapping[str, Any]:
    return {leaf.key: leaf.value for leaf in leaves(value)} if is_dataclass(value) else value


def _defaults(section: Any) -> Mapping[str, Any]:
    return _members(type(section)())


def _asked(before: Any, asked: Mapping[str, Any], entry: str) -> Any:
    """What is asked for under a name: of a section, what is left out has its default; else None."""
    defaults = _defaults(before) if is_dataclass(before) else {}
    return asked.get(entry, defaults.get(entry))


def _is_same(before: Any, asked: Any) -> bool:
    if not is_dataclass(before):
        return bool(before == asked)
    return isinstance(asked, dict) and _members(before) == {**_defaults(before), **asked}


def _is_block(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.MappingNode) and not node.flow_style and bool(node.value)


def _node(section: yaml.Node | None, path: list[str]) -> yaml.Node | None:
    """What stands at a path; None where nothing does."""
    for part in path:
        pairs = section.value if isinstance(section, yaml.MappingNode) else ()
        section = next((node for key, node in pairs if key.value == part), None)
    return section


def _block_at(text: str, name: str, path: list[str]) -> yaml.MappingNode:
    node = _node(compose(text, name), path)
    assert isinstance(node, yaml.MappingNode)
    return node


def _without_lines(text: str, key: yaml.Node, node: yaml.Node) -> str:
    """The text without the lines of a pair."""
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    end = text.find("\n", max(_end(node) - 1, key.end_mark.index))
    return text[:start] + (text[end + 1 :] if end >= 0 else "")


def _with(text: str, name: str, path: list[str], value: str) -> str:
    """The text with one setting: at its place where it has one, else at the end of its nearest section."""
    section: yaml.MappingNode = compose(text, name)
    for depth, part in enumerate(path):
        entry = next(((key, node) for key, node in section.value if key.value == part), None)
        if entry is None:
            return _inserted(text, section, path[depth:], value)
        key, node = entry
        if depth == len(path) - 1:
            return _replaced(text, key, node, value)
        if is_null(node):
            return _filled(text, key, node, path[depth + 1 :], value)
        assert isinstance(node, yaml.MappingNode)  # the loader has accepted it as a section
        section = node
    raise AssertionError("a setting's path has a name")


def _replaced(text: str, key: yaml.Node, node: yaml.Node, value: str) -> str:
    start, end = node.start_mark.index, _end(node)
    if start == end:  # nothing is written there
        value = f" {value}"
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        value = f"{value}\n"  # such a text takes its line's end with it
    if node.start_mark.line > key.start_mark.line:
        # A list or pairs below their name: what takes their place must stand to the right of it.
        value = " " * max(key.start_mark.column + 1 - node.start_mark.column, 0) + value
    return text[:start] + value + text[end:]


def _filled(text: str, key: yaml.Node, node: yaml.Node, path: list[str], value: str) -> str:
    """A section that is named and empty gets its first setting, on the next line."""
    text = text[: node.start_mark.index] + text[node.end_mark.index :]
    return _after_line(text, key.end_mark.index, _block(path, value, key.start_mark.column + _INDENT))


def _inserted(text: str, section: yaml.MappingNode, path: list[str], value: str) -> str:
    if section.flow_style:
        last = section.value[-1][1] if section.value else None
        at = section.start_mark.index + 1 if last is None else _end(last)
        flow = _flow(path, value)
        return text[:at] + (flow if last is None else f", {flow}") + text[at:]
    first, last = section.value[0][0], section.value[-1][1]
    return _after_line(text, _end(last), _block(path, value, first.start_mark.column))


def _after_line(text: str, index: int, lines: list[str]) -> str:
    """The text with `lines` below the line that `index` is on, which end as that file's lines do."""
    newline = "\r\n" if "\r\n" in text else "\n"
    if text[:index].endswith("\n"):
        index -= 1
    end = text.find("\n", index)
    if end < 0:
        return text + "".join(newline + line for line in lines) + newline
    return text[: end + 1] + "".join(line + newline for line in lines) + text[end + 1 :]


def _block(path: list[str], value: str, indent: int) -> list[str]:
    sections = [" " * (indent + depth * _INDENT) + f"{name}:" for depth, name in enumerate(path)]
    return [*sections[:-1], f"{sections[-1]} {value}"]


def _flow(path: list[str], value: str) -> str:
    for name in reversed(path[1:]):
        value = f"{{{name}: {value}}}"
    return f"{path[0]}: {value}"


def _end(node: yaml.Node) -> int:
    """Where the node's own text ends. PyYAML has a block end where the next thing begins, behind comments."""
    if getattr(node, "flow_style", True) or not node.value:
        return int(node.end_mark.index)
    return _end(list(_children(node))[-1])


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for item in node.value:
        yield from item if isinstance(item, tuple) else (item,)

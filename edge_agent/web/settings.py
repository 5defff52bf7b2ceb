"""Changes the configuration file: what can be set, what an edit would change, and saving it with a backup."""

from __future__ import annotations

import hashlib
import threading
import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from edge_agent.config.changes import diff
from edge_agent.config.document import compose, read_text
from edge_agent.config.edit import edited, write_edited
from edge_agent.config.loader import parse
from edge_agent.config.problem import InvalidConfigError, Problem
from edge_agent.config.render import describe_values, shown
from edge_agent.config.schema import Config
from edge_agent.config.tree import Leaf, leaves, members
from edge_agent.errors import ConfigError
from edge_agent.system.files import write_atomic
from edge_agent.system.secret import MASK, Secret
from edge_agent.web.agent_view import AgentView
from edge_agent.web.application import Route
from edge_agent.web.exchange import RefusedError, Request, Response, json_body, json_response

_PATH = "/api/v1/settings"
_MOST_BYTES = 64 * 1024
_OWN_SECTION = "web"
"""Who may see the page, and change this file with it, is for the file alone to say."""
_BACKUP = ".before-edit"


class Settings:
    """Edits the file line by line; the agent notices that it was saved, as it notices every other edit."""

    def __init__(self, agent: AgentView) -> None:
        self._agent = agent
        self._saving = threading.Lock()

    def routes(self) -> Iterator[Route]:
        """Everything that can be asked."""
        yield Route("GET", _PATH, self._list)
        yield Route("POST", f"{_PATH}/preview", self._preview, _MOST_BYTES)
        yield Route("POST", _PATH, self._save, _MOST_BYTES)

    def _list(self, _: Request, __: Mapping[str, str]) -> Response:
        self._refuse_unless_allowed()
        path = self._agent.config_file
        with _Refusing(path):
            text = read_text(path)
            config = _parsed(text, path)
        settings = [_described(leaf) for leaf in leaves(config) if _is_offered(leaf)]
        sections = {member.name: member.doc for member in members(Config) if member.setting is None}
        return json_response({"tag": _tag(text), "sections": sections, "settings": settings})

    def _preview(self, request: Request, _: Mapping[str, str]) -> Response:
        self._refuse_unless_allowed()
        before, after = self._edited(json_body(request))
        return json_response(_difference(before, after, self._agent.config_file))

    def _save(self, request: Request, _: Mapping[str, str]) -> Response:
        self._refuse_unless_allowed()
        path = self._agent.config_file
        with self._saving:
            before, after = self._edited(json_body(request))
            with _Refusing(path):
                _keep(path, before)
                write_edited(path, after)
        return json_response({**_difference(before, after, path), "backup": f"{path.name}{_BACKUP}"})

    def _edited(self, asked: Mapping[str, Any]) -> tuple[str, str]:
        """The text of the file as it is, and as it would be. Raises RefusedError."""
        settings, path = asked.get("settings"), self._agent.config_file
        if not isinstance(settings, dict) or not settings:
            raise RefusedError(400, "malformed", 'send {"settings": {"source.fps": 2}, "tag": "..."}')
        if any(key.partition(".")[0] == _OWN_SECTION for key in settings):
            message = f"the section {_OWN_SECTION} can be changed in the device's own file only"
            raise RefusedError(422, "invalid", message, problems=[])
        with _Refusing(path):
            before = read_text(path)
            if asked.get("tag") != _tag(before):
                raise RefusedError(409, "changed", "the file was changed meanwhile: read it again")
            return before, edited(before, path.name, settings, base=path.absolute().parent)

    def _refuse_unless_allowed(self) -> None:
        if not self._agent.config().web.allow_edit:
            raise RefusedError(403, "not_allowed", "web.allow_edit is false")


class _Refusing:
    """Turns what is wrong with a configuration into an answer that lists it line by line, without values."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, InvalidConfigError):
            problems = [_problem(problem) for problem in error.problems]
            raise RefusedError(422, "invalid", error.summary, problems=problems) from None
        if isinstance(error, ConfigError):
            raise RefusedError(422, "invalid", str(error), problems=[]) from None
        if isinstance(error, OSError):
            message = f"{self._path.name} cannot be written: {error.strerror}"
            raise RefusedError(503, "not_writable", message) from None


def masked_text(text: str, name: str) -> str:
    """The text of a configuration file without its secrets, and without what follows them on their lines.

    Raises InvalidConfigError where it cannot be read.
    """
    secret = [leaf.key.split(".") for leaf in leaves(Config()) if _is_secret(leaf)]
    root = compose(text, name)
    places = [(node.start_mark.index, node.end_mark.index) for path in secret for node in _at(root, path)]
    for start, end in sorted(places, reverse=True):
        if start == end:
            continue
        line_end = text.find("\n", max(start, end - 1))
        line_end = len(text) if line_end < 0 else line_end
        text = f"{text[:start]}{MASK}{text[line_end:]}"
    return text


def _at(node: yaml.Node, path: list[str]) -> Iterator[yaml.Node]:
    if not path:
        yield node
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == path[0]:
                yield from _at(value, path[1:])


def _difference(before: str, after: str, path: Path) -> dict[str, Any]:
    """What an edit changes: line by line, and setting by setting. Secrets are masked."""
    import difflib  # only where somebody edits

    old, new = (masked_text(text, path.name).splitlines() for text in (before, after))
    found = difflib.unified_diff(old, new, "now", "then", lineterm="", n=0)
    changes = diff(_parsed(before, path), _parsed(after, path))
    return {
        "diff": [line for line in found if not line.startswith(("---", "+++"))],
        "changes": [
            {"key": change.key, "old": change.old, "new": change.new, "apply": change.apply.value}
            for change in changes
        ],
    }


def _keep(path: Path, text: str) -> None:
    """Write the file as it was beside it. Raises OSError."""
    target = path.resolve()
    write_atomic(target.with_name(f"{path.name}{_BACKUP}"), text, 0o600, like=target.stat())


def _described(leaf: Leaf) -> dict[str, Any]:
    setting, kind = leaf.setting, _item_kind(leaf.kind)
    return {
        "key": leaf.key,
        "kind": _kind(leaf),
        "doc": setting.doc,
        "values": describe_values(leaf.kind, setting),
        "choices": list(typing.get_args(leaf.kind)) if typing.get_origin(leaf.kind) is Literal else [],
        "at_least": setting.at_least,
        "at_most": setting.at_most,
        "apply": setting.apply.value,
        "value": shown(leaf),
        "members": _described_members(kind) if is_dataclass(kind) else [],
    }


def _described_members(section: Any) -> list[dict[str, Any]]:
    return [_described(member) for member in leaves(section())]


def _item_kind(kind: Any) -> Any:
    """What is behind each name of pairs or named sections; else None."""
    return typing.get_args(kind)[1] if typing.get_origin(kind) is dict else None


def _kind(leaf: Leaf) -> str:
    if _is_secret(leaf):
        return "secret"
    origin = typing.get_origin(leaf.kind)
    if origin is Literal:
        return "choice"
    if origin is tuple:
        return "numbers" if typing.get_args(leaf.kind)[0] in (int, float) else "texts"
    if origin is dict:
        kind = _item_kind(leaf.kind)
        return "sections" if is_dataclass(kind) else "number pairs" if kind in (int, float) else "text pairs"
    return {bool: "switch", int: "whole", float: "number"}.get(leaf.kind, "text")


def _is_secret(leaf: Leaf) -> bool:
    return isinstance(leaf.value, Secret) or leaf.setting.keeps_bare_name


def _is_offered(leaf: Leaf) -> bool:
    return leaf.key.partition(".")[0] != _OWN_SECTION


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "line": problem.line,
        "column": problem.column,
        "key": problem.key,
        "message": problem.public or "cannot be used",
    }


def _parsed(text: str, path: Path) -> Config:
    return parse(text, path.name, base=path.absolute().parent)


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

"""Follows the wanted state of the device's groups: takes what is signed and newer, says what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Protocol

from edge_agent.config.live import LiveConfig
from edge_agent.config.render import shown
from edge_agent.config.tree import leaves
from edge_agent.errors import ConfigError, ModelError, TeachError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.source import ModelSource, model_source
from edge_agent.mqtt.contract.payloads import GroupInfo, Refusal
from edge_agent.mqtt.contract.wanted import Target, Wanted, WantedError, read_wanted
from edge_agent.mqtt.requests import Reloaded
from edge_agent.system.clock import Clock
from edge_agent.system.files import write_atomic
from edge_agent.system.json_reader import JsonError, parse, read
from edge_agent.system.log import say
from edge_agent.system.paths import WHOLE_FRAME
from edge_agent.system.text import printable

_FUTURE_MS = 24 * 3600 * 1000
_LONGEST_REASON = 300
_LOG = logging.getLogger(__name__)


class Heads(Protocol):
    """The heads of the views; a region without a name is the whole picture. All may raise TeachError."""

    def head_of(self, region: str) -> bytes:
        """The file of a head; empty where there is none."""
        ...

    def take_head(self, region: str, content: bytes) -> object:
        """Answer with that head; with none where it is empty."""
        ...


class Models(Protocol):
    """The agent's model, which a group may replace."""

    def want(self, source: ModelSource, group: str, *, once_more: bool = False) -> None:
        """Have that model, as soon as it is fetched and tried; `once_more` where that was asked for before.

        Raises ModelError.
        """
        ...

    def give_back(self) -> None:
        """Have the model from before a group gave another. Raises ModelError."""
        ...

    def is_pending(self, sha256: str) -> bool:
        """Whether the model of that bundle is still being fetched or tried."""
        ...

    def why_not(self, sha256: str) -> str:
        """Why the model of that bundle was refused or taken back; empty where it was not."""
        ...


@dataclass(frozen=True, slots=True)
class _Followed:
    """What became of a group's latest document that was signed and not replayed."""

    sequence: int
    digest: str
    revision: str
    is_trial: bool
    settings: Mapping[str, object]
    """What that group gives this device, as far as it was taken."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Likewise, in base64."""
    refused: tuple[Refusal, ...] = ()
    model: Mapping[str, object] | None = None
    """Likewise, as `ModelSource.plain` has it."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """What has to outlast the process."""

    groups: Mapping[str, _Followed] = field(default_factory=dict)
    before: Mapping[str, object] = field(default_factory=dict)
    """What settings had before a group gave them another value."""
    heads_before: Mapping[str, str] = field(default_factory=dict)
    """Likewise the heads of regions, in base64; empty where there was none."""


@dataclass(slots=True)
class WantedState:
    """Used by the main thread. `patch` writes settings, all or none, and raises ConfigError."""

    live: LiveConfig
    patch: Callable[[Mapping[str, object]], Reloaded]
    heads: Heads
    models: Models
    changed: Callable[[], None]
    """Called when `info` has changed."""
    file: Path
    """Keeps what was taken, above all the sequence numbers: an older document is refused for good."""
    clock: Clock
    _memory: _Memory = field(init=False)
    _rejected: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._memory = _load(self.file)

    def receive(self, group: str, message: bytes) -> None:
        """Follow a message, or say why not. One that was removed, or comes again, changes nothing."""
        settings = self.live.config.fleet
        former = self._memory.groups.get(group)
        digest = hashlib.sha256(message).hexdigest()
        if group not in settings.groups or not message:
            return
        if former and former.digest == digest:
            self._fetch_again(group, former)
            return
        try:
            wanted = read_wanted(message, settings.public_key, group)
            self._refuse_replayed(wanted, former)
        except WantedError as error:
            self._reject(group, printable(str(error), _LONGEST_REASON))
            return
        self._rejected.pop(group, None)
        self._follow(wanted, digest, former)
        self.changed()

    def info(self) -> tuple[GroupInfo, ...]:
        """What was taken and what was refused, for each of the device's groups."""
        return tuple(self._describe(group) for group in self.live.config.fleet.groups)

    def _refuse_replayed(self, wanted: Wanted, former: _Followed | None) -> None:
        if former is not None and wanted.sequence <= former.sequence:
            raise WantedError("it is older than what was taken: somebody has sent it again")
        if self.clock.synced() and wanted.sequence > self.clock.time_s() * 1000 + _FUTURE_MS:
            raise WantedError("it was signed in the future: check the clocks")

    def _reject(self, group: str, reason: str) -> None:
        if self._rejected.get(group) != reason:
            self._rejected[group] = reason
            say(_LOG, logging.WARNING, f"wanted state refused: {reason}", group=group)
            self.changed()

    def _follow(self, wanted: Wanted, digest: str, former: _Followed | None) -> None:
        """Have what the documents of all groups give; a part that is refused stays as it was."""
        device_id = self.live.config.device_id
        target = wanted.of(device_id)
        followed = _Followed(
            wanted.sequence,
            digest,
            wanted.revision,
            target is wanted.trial,
            target.settings,
            refused=_unknown(target),
        )
        try:
            memory = self._apply(
                replace(self._memory, groups={**self._memory.groups, wanted.group: followed})
            )
        except ConfigError as error:
            refusal = Refusal("settings", printable(str(error), _LONGEST_REASON))
            kept = former.settings if former else {}
            followed = replace(followed, settings=kept, refused=(*followed.refused, refusal))
            memory = replace(self._memory, groups={**self._memory.groups, wanted.group: followed})
        self._memory = memory
        followed = self._follow_heads(wanted.group, followed, former, target.heads)
        followed = self._follow_model(wanted.group, followed, former, target.model)
        self._save()
        for refusal in followed.refused:
            say(_LOG, logging.WARNING, f"{refusal.what} refused: {refusal.why}", group=wanted.group)
        say(_LOG, logging.INFO, "wanted state followed", group=wanted.group, revision=wanted.revision)

    def _apply(self, memory: _Memory) -> _Memory:
        """Write what differs, and remember what it was. Raises ConfigError, and then nothing has changed."""
        given = dict(_given(memory, self.live.config.fleet.groups))
        formerly = dict(_given(self._memory, self.live.config.fleet.groups))
        present = {leaf.key: shown(leaf) for leaf in leaves(self.live.config)}
        restored = {
            key: value
            for key, value in memory.before.items()
            if key not in given and present[key] == formerly.get(key)  # else its owner has changed it since
        }
        differing = {
            key: value
            for key, value in (restored | given).items()
            if key not in present or present[key] != value
        }
        if differing:
            self.patch(differing)
        before = {key: memory.before.get(key, present[key]) for key in given}
        return replace(memory, before=before)

    def _follow_heads(
        self, group: str, followed: _Followed, former: _Followed | None, heads: Mapping[str, str]
    ) -> _Followed:
        """Have the heads that are given now, and those from before where none is given any more."""
        order = self.live.config.fleet.groups
        formerly = _given_heads({**self._memory.groups, **({group: former} if former else {})}, order)
        followed = replace(followed, heads=heads)
        given = _given_heads({**self._memory.groups, group: followed}, order)
        before = dict(self._memory.heads_before)
        same = {name for name in given if former and formerly.get(name) == given[name]}
        for name in sorted((given.keys() | before.keys()) - same):
            try:
                self._have_head(name, given, before)
            except (TeachError, ValueError) as error:
                refusal = Refusal(f"head {printable(name, 40)}", printable(str(error), _LONGEST_REASON))
                left = {key: value for key, value in followed.heads.items() if key != name}
                followed = replace(followed, heads=left, refused=(*followed.refused, refusal))
        groups = {**self._memory.groups, group: followed}
        self._memory = replace(self._memory, groups=groups, heads_before=before)
        return followed

    def _have_head(self, name: str, given: Mapping[str, str], before: dict[str, str]) -> None:
        """Take a head, or the one from before. Raises TeachError, or ValueError for what is no base64."""
        region = "" if name == WHOLE_FRAME else name
        content = base64.b64decode(given.get(name, before.get(name, "")), validate=True)
        present = base64.b64encode(self.heads.head_of(region)).decode()
        self.heads.take_head(region, content)
        if name in given:
            before.setdefault(name, present)
        else:
            del before[name]

    def _follow_model(
        self, group: str, followed: _Followed, former: _Followed | None, model: ModelSource | None
    ) -> _Followed:
        """Have the model that is given now, or the one from before where none is given any more."""
        order = self.live.config.fleet.groups
        formerly = _given_model({**self._memory.groups, **({group: former} if former else {})}, order)
        followed = replace(followed, model=model.plain() if model else None)
        given = _given_model({**self._memory.groups, group: followed}, order)
        try:
            if given is not None:
                self.models.want(model_source(given[1]), given[0])
            elif formerly is not None:
                self.models.give_back()
        except ModelError as error:
            refusal = Refusal("model", printable(str(error), _LONGEST_REASON))
            followed = replace(followed, model=None, refused=(*followed.refused, refusal))
        self._memory = replace(self._memory, groups={**self._memory.groups, group: followed})
        return followed

    def _fetch_again(self, group: str, followed: _Followed) -> None:
        """The same document has come again, as with each connection: go on where its model is missing."""
        given = _given_model(self._memory.groups, self.live.config.fleet.groups)
        if given is None or given[0] != group or followed.model is None:
            return
        with suppress(ModelError):  # `info` says what it is
            self.models.want(model_source(followed.model), group, once_more=True)

    def _describe(self, group: str) -> GroupInfo:
        followed = self._memory.groups.get(group)
        rejected = self._rejected.get(group)
        rejections = (Refusal("message", rejected),) if rejected else ()
        if followed is None:
            return GroupInfo(group, "", 0, False, (), refused=rejections)
        sha256 = str(followed.model["sha256"]) if followed.model else ""
        why_not = self.models.why_not(sha256) if sha256 else ""
        return GroupInfo(
            group,
            followed.revision,
            followed.sequence,
            followed.is_trial,
            tuple(sorted(followed.settings)),
            tuple(sorted(followed.heads)),
            followed.refused + rejections + ((Refusal("model", why_not),) if why_not else ()),
            sha256,
            bool(sha256) and self.models.is_pending(sha256),
        )

    def _save(self) -> None:
        try:
            write_atomic(self.file, json.dumps(asdict(self._memory)), 0o600)
        except OSError as error:
            say(_LOG, logging.ERROR, "wanted state could not be kept", error=str(error.strerror))


def _given(memory: _Memory, groups: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """The settings that the groups give; of two that give the same one, the later in the list counts."""
    for group in groups:
        if (followed := memory.groups.get(group)) is not None:
            yield from followed.settings.items()


def _given_heads(groups: Mapping[str, _Followed], order: tuple[str, ...]) -> dict[str, str]:
    """The heads that the groups give, by their regions."""
    given: dict[str, str] = {}
    for group in order:
        if (followed := groups.get(group)) is not None:
            given.update(followed.heads)
    return given


def _given_model(
    groups: Mapping[str, _Followed], order: tuple[str, ...]
) -> tuple[str, Mapping[str, object]] | None:
    """The group whose model counts, the later one in the list, and that model; None where none gives one."""
    given = [(group, groups[group].model) for group in order if group in groups]
    return next(((group, model) for group, model in reversed(given) if model is not None), None)


def _unknown(target: Target) -> tuple[Refusal, ...]:
    return tuple(Refusal(printable(part, 64), "this agent does not know it") for part in target.unknown)


def _load(file: Path) -> _Memory:
    """What was kept; nothing where there is no file that can be read."""
    try:
        return read(_Memory, parse(file.read_bytes()))
    except FileNotFoundError:
        return _Memory()
    except (OSError, JsonError) as error:
        say(_LOG, logging.WARNING, "what was kept of wanted state cannot be read", error=str(error))
        return _Memory()

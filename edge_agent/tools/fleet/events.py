"""Keeps every event once, and each device's in their order. One instance at a time does it, for all devices.

MQTT's stream is read in order, from a place before which all is kept, and an event that is not above the last
one kept of its device is a repeat. Whoever reads in that way keeps the same: an instance that was stopped for
a while and believes it is still its turn does no harm. Devices do not wait for one another.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from edge_agent.system.json_reader import JsonError, parse, read
from edge_agent.tools.fleet.backbone import Backbone, Topic
from edge_agent.tools.fleet.devices import event_sequence

TURNS = "="
"""What keys of turns begin with; no device's name does."""

_BATCH = 256
_BEAT_S = 3.0
_LOST_S = 10.0
_QUIET_S = 10.0


class TurnLostError(nats.errors.Error):
    """Another instance has taken over."""


@dataclass(frozen=True, slots=True)
class _Said:
    owner: str
    place: int


@dataclass(slots=True)
class Turn:
    """Whose turn it is, and up to which place of the stream all is kept: one key of the store.

    Who has it says so again every 3 s. Who sees the same for 10 s by its own clock takes it.
    """

    store: KeyValue
    key: str
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _revision: int = 0

    async def wait(self) -> int:
        """Return, once it is this instance's turn, the place up to which all is kept."""
        seen, since_s = -1, self.clock()
        while True:
            revision, said = await self._read()
            if revision != seen:
                seen, since_s = revision, self.clock()
            if said.owner in ("", self.owner) or self.clock() - since_s >= _LOST_S:
                with suppress(TurnLostError):
                    await self._write(said.place, revision)
                    return said.place
            await self.sleep(_BEAT_S / 2)

    async def go_on(self, place: int) -> None:
        """Keep the turn: all up to `place` is kept. Raises TurnLostError."""
        await self._write(place, self._revision)

    async def _read(self) -> tuple[int, _Said]:
        try:
            entry = await self.store.get(self.key)
            return int(entry.revision or 0), read(_Said, parse(entry.value or b""))
        except NotFoundError:
            return 0, _Said("", 0)
        except JsonError:  # not written by us: what was kept already is passed over as repeats
            return int(entry.revision or 0), _Said("", 0)

    async def _write(self, place: int, revision: int) -> None:
        value = json.dumps({"owner": self.owner, "place": place}).encode()
        try:
            self._revision = await self.store.update(self.key, value, last=revision)
        except KeyWrongLastSequenceError:
            raise TurnLostError from None


@dataclass(slots=True)
class Events:
    """The events of one kind of topic. Used by one event loop."""

    backbone: Backbone
    name: str
    """`events` or `region_events`."""
    turn: Turn
    count: Callable[[str], None]
    """Takes `events`, `repeats` or `unreadable`."""
    show: Callable[[Topic, Msg], Awaitable[None]]
    """Takes the last event of a batch, of each device and region."""
    clock: Callable[[], float] = time.monotonic
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each subject: the number of the event kept last, and its place."""

    async def follow(self) -> None:
        """Keep events while it is this instance's turn; to be called again. Raises nats.errors.Error."""
        place = await self.turn.wait()
        self._last.clear()
        pulled = await self.backbone.pull_events(self.name, place)
        try:
            await self._follow(pulled, place)
        finally:
            await pulled.unsubscribe()

    async def _follow(self, pulled: JetStreamContext.PullSubscription, place: int) -> None:
        """Returns where a message is missing. Raises nats.errors.Error."""
        number, said_s, heard_s = 0, self.clock(), self.clock()
        while True:
            try:
                batch = await pulled.fetch(_BATCH, _BEAT_S)
            except TimeoutError:  # nats.errors.TimeoutError is one
                batch = []
            for message in batch:
                if message.metadata.sequence.consumer != (number := number + 1):
                    return
            if batch:
                await self._keep_all(batch)
                place, heard_s = batch[-1].metadata.sequence.stream, self.clock()
            elif self.clock() - heard_s >= _QUIET_S:
                await pulled.consumer_info()  # raises: a reader dies with its node, and says nothing
                heard_s = self.clock()
            if self.clock() - said_s >= _BEAT_S:
                await self.turn.go_on(place)
                said_s = self.clock()

    async def _keep_all(self, batch: Sequence[Msg]) -> None:
        """Keep a batch: each device's one after another, devices side by side. Raises the first error."""
        by_topic: dict[Topic, list[Msg]] = defaultdict(list)
        for message in batch:
            if (topic := Topic.of(message.subject, self.backbone.base)) is not None:
                by_topic[topic].append(message)
        await side_by_side([self._keep_some(topic, messages) for topic, messages in by_topic.items()])

    async def _keep_some(self, topic: Topic, messages: Sequence[Msg]) -> None:
        last: Msg | None = None
        for message in messages:
            try:
                seq = event_sequence(message.data)
            except ValueError:
                self.count("unreadable")
                continue
            if await self._keep(topic, seq, message.data):
                self.count("events")
                last = message
            else:
                self.count("repeats")
        if last is not None:
            await self.show(topic, last)

    async def _keep(self, topic: Topic, seq: int, payload: bytes) -> bool:
        """Keep an event behind the last one of its device; False for one that is kept already."""
        subject = topic.event_subject
        while True:
            last, place = self._last.get(subject) or await self.backbone.last_event(topic)
            self._last[subject] = (last, place)
            if seq <= last:
                return False
            if (kept := await self.backbone.keep_event(topic, payload, place)) is not None:
                self._last[subject] = (seq, kept)
                return True
            del self._last[subject]  # another instance has kept one


async def side_by_side(works: Iterable[Awaitable[None]]) -> None:
    """Do all of it at once, and wait for all of it. Raises the first error."""
    for error in await asyncio.gather(*works, return_exceptions=True):
        if error is not None:
            raise error

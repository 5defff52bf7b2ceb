"""Watches many devices: several instances share the work, and any of them may die at any time.

A message counts as handled when what follows from it is kept, so the next instance gets what one has left.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.fleet.backbone import Backbone, Login, MadeByNatsError, Topic, connect
from edge_agent.tools.fleet.devices import KINDS, Device
from edge_agent.tools.fleet.events import TURNS, Events, Turn, side_by_side
from edge_agent.tools.fleet.page import Query, devices_json, metrics, page
from edge_agent.tools.fleet.server import Route, Server

_BATCH = 64
_WAIT_S = 5.0
_AGAIN_S = 1.0
_QUIET_S = 30.0
_ERRORS = (nats.errors.Error, OSError, TimeoutError)
_MEND = (
    "an MQTT client was here before the first watcher, so NATS itself has made $MQTT_msgs, and would lose"
    " messages: waiting until you have removed that stream; docs/fleet.md says how"
)


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What `fleet watch` is told."""

    login: Login
    base_topic: str = "edge_agent"
    replicas: int = 3
    host: str = "127.0.0.1"
    port: int = 8385


@dataclass(slots=True)
class Watch:
    """One instance. Used by one event loop."""

    options: WatchOptions
    report: Report
    clock: Callable[[], float] = time.time
    """Returns seconds since 1970."""
    devices: dict[str, Device] = field(default_factory=dict)
    counts: Counter[str] = field(
        default_factory=lambda: Counter({"messages": 0, "events": 0, "repeats": 0, "unreadable": 0})
    )
    _kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each key in the store: its revision, and the place in MQTT's stream that its message had."""

    async def run(self) -> None:
        """Serve the page and follow the devices until cancelled. Raises OSError where it cannot listen."""
        server = await Server(self._routes()).start(self.options.host, self.options.port)
        self.report(f"http://{self.options.host}:{server.sockets[0].getsockname()[1]}/")
        async with server:
            await self._forever("connecting", self._follow)

    async def _follow(self) -> None:
        client = await connect(self.options.login, "edge-agent fleet watch")
        try:
            backbone = Backbone(client, self.options.base_topic, self.options.replicas)
            store = await self._prepared(backbone)
            self.report("following")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forever("the store", lambda: self._look(store)))
                group.create_task(self._forever("status", lambda: self._follow_status(backbone, store)))
                for name in ("events", "region_events"):
                    turn = Turn(store, f"{TURNS}{name}")
                    show = partial(self._keep, store)
                    events = Events(backbone, name, turn, self._count, show)
                    group.create_task(self._forever(name, partial(_always, events.follow)))
        finally:
            with suppress(*_ERRORS):
                await client.close()

    async def _prepared(self, backbone: Backbone) -> KeyValue:
        last = ""
        while True:
            try:
                return await backbone.prepare()
            except MadeByNatsError:
                said = _MEND
            except _ERRORS as error:
                said = f"waiting for NATS ({type(error).__name__})"
            if said != last:
                self.report(last := said)
            await asyncio.sleep(_AGAIN_S)

    async def _forever(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again whenever it fails: nodes come and go. What was said last is not said again."""
        last = ""
        while True:
            try:
                await work()
            except _ERRORS as error:
                if (said := printable(str(error) or type(error).__name__, 200)) != last:
                    self.report(f"{what}: {(last := said)}")
                await asyncio.sleep(_AGAIN_S)

    async def _follow_status(self, backbone: Backbone, store: KeyValue) -> None:
        pulled = await backbone.pull_status()
        while True:
            try:
                messages = await pulled.fetch(_BATCH, timeout=_WAIT_S)
            except TimeoutError:
                continue
            await self._keep_latest(store, messages)
            for message in messages:
                await message.ack()

    async def _keep_latest(self, store: KeyValue, messages: Sequence[Msg]) -> None:
        """Keep of each topic what came last. Raises the first error."""
        latest: dict[Topic, Msg] = {}
        for message in sorted(messages, key=lambda each: each.metadata.sequence.stream):
            topic = Topic.of(message.subject, self._base)
            if topic is not None and topic.kind in KINDS and topic.kind != "event":
                self._count("messages")
                if _is_readable(topic.kind, message.data):
                    latest[topic] = message
                else:
                    self._count("unreadable")
        await side_by_side([self._keep(store, topic, message) for topic, message in latest.items()])

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    async def _keep(self, store: KeyValue, topic: Topic, message: Msg) -> None:
        """Keep the latest message of a kind, whichever instance got it, and in whatever order."""
        key = f"{topic.device}.{topic.kind}" + (f".{topic.region}" if topic.region else "")
        metadata = message.metadata
        place = metadata.sequence.stream
        value = json.dumps(
            {
                "place": place,
                "at": metadata.timestamp.timestamp(),
                "payload": base64.b64encode(message.data).decode(),
            }
        ).encode()
        while True:
            revision, former = self._kept.get(key, (0, 0))
            if place <= former:
                return
            try:
                self._kept[key] = (await store.update(key, value, last=revision), place)
            except KeyWrongLastSequenceError:
                self._kept[key] = await _present(store, key)
            else:
                self._take(key, value)
                return

    async def _look(self, store: KeyValue) -> None:
        """Follow what all instances keep; anew where it was quiet for long, since a watcher can be lost."""
        watcher = await store.watchall()
        try:
            while True:
                entry = await watcher.updates(timeout=_QUIET_S)  # type: ignore[no-untyped-call]
                if entry is None or entry.value is None or entry.key.startswith(TURNS):
                    continue
                self._take(entry.key, entry.value, entry.revision or 0)
        except (nats.errors.TimeoutError, TimeoutError):
            return
        finally:
            with suppress(*_ERRORS):
                await watcher.stop()  # type: ignore[no-untyped-call]

    def _take(self, key: str, value: bytes, revision: int = 0) -> None:
        name, _, rest = key.partition(".")
        kind, _, region = rest.partition(".")
        try:
            kept = json.loads(value)
            payload, at_s, place = base64.b64decode(kept["payload"]), float(kept["at"]), int(kept["place"])
            if revision and place >= self._kept.get(key, (0, 0))[1]:
                self._kept[key] = (revision, place)
            if not region:
                device = self.devices.get(name) or Device(name)
                self.devices[name] = device.with_payload(kind, payload, at_s)
        except (ValueError, KeyError, TypeError):
            self.counts["unreadable"] += 1

    @property
    def _base(self) -> str:
        return self.options.base_topic.replace("/", ".")

    def _routes(self) -> dict[str, Route]:
        def listed() -> list[Device]:
            return sorted(self.devices.values(), key=lambda device: device.name)

        return {
            "/": lambda asked: ("text/html", page(listed(), Query.of(asked), self.clock())),
            "/api/v1/devices": lambda asked: (
                "application/json",
                devices_json(listed(), Query.of(asked), self.clock()),
            ),
            "/metrics": lambda _: (
                "text/plain; version=0.0.4",
                metrics(listed(), self.counts, self.clock()),
            ),
            "/healthz": lambda _: ("text/plain", "ok\n"),
        }


def _is_readable(kind: str, payload: bytes) -> bool:
    try:
        Device("").with_payload(kind, payload, 0)
    except ValueError:
        return False
    return True


async def _always(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await work()


async def _present(store: KeyValue, key: str) -> tuple[int, int]:
    """The revision of a key, and the place that its message had; zeros where there is none."""
    try:
        entry = await store.get(key)
        return int(entry.revision or 0), int(json.loads(entry.value or b"{}").get("place", 0))
    except NotFoundError:
        return 0, 0

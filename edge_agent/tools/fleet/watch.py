"""Watches many devices: several instances share the work, and any of them may die at any time.

Every message is acknowledged when what follows from it is kept, so the next instance gets what one has left.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from edge_agent.system.text import printable
from edge_agent.tools import Report
from edge_agent.tools.fleet.backbone import Backbone, Login, Topic, connect
from edge_agent.tools.fleet.devices import KINDS, Device, event_sequence
from edge_agent.tools.fleet.page import devices_json, metrics, page
from edge_agent.tools.fleet.server import Server

_BATCH = 64
_WAIT_S = 5.0
_AGAIN_S = 1.0
_QUIET_S = 30.0
_ERRORS = (nats.errors.Error, OSError, TimeoutError)


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
    _last_events: dict[str, tuple[int, int]] = field(default_factory=dict)

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
            if not await backbone.keeps_for_nobody():
                self.report(
                    "an MQTT client was here before the first watcher, so NATS itself has made $MQTT_msgs:"
                    " messages can be lost when a node returns; docs/fleet.md says how to mend that"
                )
            self.report("following")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forever("the store", lambda: self._look(store)))
                for name, handle in (
                    ("status", self._status_handler(store)),
                    ("events", self._event_handler(backbone, store)),
                    ("region_events", self._event_handler(backbone, store)),
                ):
                    work = partial(self._consume, backbone, name, handle)
                    group.create_task(self._forever(name, work))
        finally:
            with suppress(*_ERRORS):
                await client.close()

    async def _prepared(self, backbone: Backbone) -> KeyValue:
        last = ""
        while True:
            try:
                return await backbone.prepare()
            except _ERRORS as error:
                if (said := f"waiting for NATS ({type(error).__name__})") != last:
                    self.report(last := said)
                await asyncio.sleep(_AGAIN_S)

    async def _forever(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again whenever it fails: nodes come and go."""
        while True:
            try:
                await work()
            except _ERRORS as error:
                self.report(f"{what}: {printable(str(error) or type(error).__name__, 200)}")
                await asyncio.sleep(_AGAIN_S)

    async def _consume(self, backbone: Backbone, name: str, handle: Callable[[Msg], Awaitable[None]]) -> None:
        pulled = await backbone.pull(name)
        while True:
            try:
                messages = await pulled.fetch(_BATCH if name == "status" else 1, timeout=_WAIT_S)
            except (nats.errors.TimeoutError, TimeoutError):
                continue
            for message in messages:
                await handle(message)
                await message.ack()

    def _status_handler(self, store: KeyValue) -> Callable[[Msg], Awaitable[None]]:
        async def handle(message: Msg) -> None:
            topic = Topic.of(message.subject, self._base)
            if topic is None or topic.kind not in KINDS or topic.kind == "event":
                return
            self.counts["messages"] += 1
            try:
                Device(topic.device).with_payload(topic.kind, message.data, 0)
            except ValueError:
                self.counts["unreadable"] += 1
                return
            await self._keep(store, topic, message)

        return handle

    def _event_handler(self, backbone: Backbone, store: KeyValue) -> Callable[[Msg], Awaitable[None]]:
        async def handle(message: Msg) -> None:
            topic = Topic.of(message.subject, self._base)
            if topic is None:
                return
            try:
                seq = event_sequence(message.data)
            except ValueError:
                self.counts["unreadable"] += 1
                return
            if await self._keep_event(backbone, topic, seq, message.data):
                self.counts["events"] += 1
                await self._keep(store, topic, message)
            else:
                self.counts["repeats"] += 1

        return handle

    async def _keep_event(self, backbone: Backbone, topic: Topic, seq: int, payload: bytes) -> bool:
        """Keep an event behind the last one of its device; False for one that is kept already."""
        subject = topic.event_subject
        while True:
            last, place = self._last_events.get(subject) or await backbone.last_event(topic)
            self._last_events[subject] = (last, place)
            if seq <= last:
                return False
            if (kept := await backbone.keep_event(topic, payload, place)) is not None:
                self._last_events[subject] = (seq, kept)
                return True
            del self._last_events[subject]  # another instance has kept one

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
                if entry is None or entry.value is None:
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

    def _routes(self) -> dict[str, Callable[[str, str], tuple[str, str]]]:
        def listed() -> list[Device]:
            return sorted(self.devices.values(), key=lambda device: device.name)

        return {
            "/": lambda words, sort: ("text/html", page(listed(), words, sort, self.clock())),
            "/api/v1/devices": lambda words, sort: (
                "application/json",
                devices_json(listed(), words, sort, self.clock()),
            ),
            "/metrics": lambda *_: (
                "text/plain; version=0.0.4",
                metrics(listed(), self.counts, self.clock()),
            ),
            "/healthz": lambda *_: ("text/plain", "ok\n"),
        }


async def _present(store: KeyValue, key: str) -> tuple[int, int]:
    """The revision of a key, and the place that its message had; zeros where there is none."""
    try:
        entry = await store.get(key)
        return int(entry.revision or 0), int(json.loads(entry.value or b"{}").get("place", 0))
    except NotFoundError:
        return 0, 0

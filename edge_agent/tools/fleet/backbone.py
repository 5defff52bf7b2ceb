"""What `fleet watch` has in NATS JetStream: durable consumers, a store of keys, a stream of events.

An MQTT message with QoS 1 is in the stream `$MQTT_msgs`, on most of the nodes, before its device is told so.
That very stream is read: what is between the reader and the device is nothing that a node could lose.
NATS makes that stream for the first MQTT client, so that a message goes once nobody is to get it; with 2.9
such a stream has lost messages when a node returned. Made by us before, it keeps everything for a while.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import BadRequestError, NotFoundError
from nats.js.kv import KeyValue

MQTT_STREAM = "$MQTT_msgs"
EVENTS_STREAM = "EDGE_AGENT_EVENTS"
BUCKET = "edge_agent_fleet"
_PREFIX = "$MQTT.msgs."
_NAMES = re.compile(r"[a-zA-Z0-9_-]{1,64}(\.[a-zA-Z0-9_-]{1,64}){1,3}")  # what the store takes as keys
_ACK_WAIT_S = 10.0
_MOST_UNACKED = 512
_READER_KEPT_S = 60.0
_EVENT_TOPICS = {"events": "*.event", "region_events": "*.region.*.event"}
_MQTT_MAX_AGE_S = 7 * 24 * 3600.0
_EVENTS_MAX_AGE_S = 30 * 24 * 3600.0


class MadeByNatsError(Exception):
    """An MQTT client was there before us, so NATS has made MQTT's stream itself: it loses messages."""


@dataclass(frozen=True, slots=True)
class Login:
    """How NATS is reached."""

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """Where a message came from."""

    device: str
    region: str
    """Empty for the whole picture."""
    kind: str

    @classmethod
    def of(cls, subject: str, base: str) -> Topic | None:
        """The topic behind a subject of MQTT's stream; None for one that is not followed."""
        if not _NAMES.fullmatch(subject.removeprefix(f"{_PREFIX}{base}.")):
            return None
        levels = subject.removeprefix(f"{_PREFIX}{base}.").split(".")
        match levels:
            case [device, kind]:
                return cls(device, "", kind)
            case [device, "region", region, kind]:
                return cls(device, region, kind)
        return None

    @property
    def event_subject(self) -> str:
        """Where its events are kept, in order and once each."""
        return f"edge_agent_event.{self.device}.{self.region or '_'}"


class Backbone:
    """A connection to NATS, and what is in it. Used by one event loop."""

    def __init__(self, client: Client, base_topic: str, replicas: int) -> None:
        self.client = client
        self.stream: JetStreamContext = client.jetstream(timeout=5)
        self.base = base_topic.replace("/", ".")
        self._replicas = replicas

    async def prepare(self) -> KeyValue:
        """Make what is missing; returns the store.

        Raises nats.errors.Error until most nodes are there, and MadeByNatsError until MQTT's stream is ours.
        """
        found = await self._mqtt_stream()
        if found.config.retention != RetentionPolicy.LIMITS:
            raise MadeByNatsError
        await self._make_stream(EVENTS_STREAM, "edge_agent_event.*.*", _EVENTS_MAX_AGE_S)
        await self._make_status_consumer()
        try:
            return await self.stream.key_value(BUCKET)
        except NotFoundError:
            return await self.stream.create_key_value(KeyValueConfig(bucket=BUCKET, replicas=self._replicas))

    async def pull_status(self) -> JetStreamContext.PullSubscription:
        """What devices publish; each message goes to one of the instances, until that acknowledges it."""
        return await self.stream.pull_subscribe_bind(consumer=self._durable("status"), stream=MQTT_STREAM)

    async def pull_events(self, name: str, behind: int) -> JetStreamContext.PullSubscription:
        """The `events`, or `region_events`, behind a place of MQTT's stream, in order."""
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=behind + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_READER_KEPT_S,
            mem_storage=True,
            num_replicas=1,
        )
        subject = f"{_PREFIX}{self.base}.{_EVENT_TOPICS[name]}"
        return await self.stream.pull_subscribe(subject, stream=MQTT_STREAM, config=config)

    async def last_event(self, topic: Topic) -> tuple[int, int]:
        """The number of the last event kept of a device, and its place in the stream; -1 and 0 before one."""
        try:
            found = await self.stream.get_last_msg(EVENTS_STREAM, topic.event_subject)
        except NotFoundError:
            return -1, 0
        return int(json.loads(found.data or b"{}").get("seq", -1)), int(found.seq or 0)

    async def keep_event(self, topic: Topic, payload: bytes, behind: int) -> int | None:
        """Keep an event behind the place `behind` of that device; None where another came in between."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(behind)}
        try:
            return int((await self.stream.publish(topic.event_subject, payload, headers=headers)).seq)
        except BadRequestError as error:
            if error.err_code == 10071:  # wrong last sequence
                return None
            raise

    async def _mqtt_stream(self) -> StreamInfo:
        try:
            return await self.stream.stream_info(MQTT_STREAM)
        except NotFoundError:
            with suppress(NotFoundError):  # places in a stream that was removed
                await self.stream.delete_key_value(BUCKET)
            await self._make_stream(MQTT_STREAM, f"{_PREFIX}>", _MQTT_MAX_AGE_S)
            return await self.stream.stream_info(MQTT_STREAM)

    async def _make_stream(self, name: str, subject: str, max_age_s: float) -> None:
        try:
            await self.stream.stream_info(name)
        except NotFoundError:
            config = StreamConfig(
                name=name, subjects=[subject], num_replicas=self._replicas, max_age=max_age_s
            )
            await self.stream.add_stream(config)

    async def _make_status_consumer(self) -> None:
        name = self._durable("status")
        try:
            await self.stream.consumer_info(MQTT_STREAM, name)
        except NotFoundError:
            config = ConsumerConfig(
                durable_name=name,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=_ACK_WAIT_S,
                filter_subject=f"{_PREFIX}{self.base}.*.*",
                max_ack_pending=_MOST_UNACKED,
                num_replicas=self._replicas,
            )
            await self.stream.add_consumer(MQTT_STREAM, config)

    def _durable(self, name: str) -> str:
        return f"edge_agent_{self.base.replace('.', '_')}_{name}"


async def connect(login: Login, name: str) -> Client:
    """Connect to any of the servers, and reconnect forever. Raises nats.errors.Error or OSError."""
    options: dict[str, Any] = {}
    if login.user:
        options |= {"user": login.user, "password": login.password}
    if login.ca_file:
        options["tls"] = _tls(login)
    return await nats.connect(
        servers=list(login.servers),
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.5,
        connect_timeout=3,
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=_ignore,
        **options,
    )


def _tls(login: Login) -> Any:
    import ssl

    context = ssl.create_default_context(cafile=login.ca_file)
    if login.cert_file:
        context.load_cert_chain(login.cert_file, login.key_file)
    return context


async def _ignore(_: Exception) -> None:
    """Errors of the connection are seen by whoever waits for an answer."""

"""A running publisher, an agent that answers requests, and what else several tests of MQTT use."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema

from edge_agent.config.schema import Config, MqttConfig, RtspConfig, SourceConfig
from edge_agent.errors import ConfigError, SourceError
from edge_agent.model.source import ModelSource
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import LabelChanged, OutboxPlace
from edge_agent.mqtt.link import BrokerLink
from edge_agent.mqtt.publisher import Publisher, Subscription
from edge_agent.mqtt.requests import Control, HeadRequest, LessonRequest, Reloaded
from edge_agent.mqtt.wire.clear_retained import wait_for_ack
from edge_agent.mqtt.wire.connection import Connection, MqttVersion
from edge_agent.mqtt.wire.dialer import Dialer
from edge_agent.system.clock import SystemClock
from edge_agent.system.secret import Secret, SecretUrl
from tests.clock import FakeClock
from tests.installed import program
from tests.mqtt.brokers import wait_until
from tests.mqtt.samples import TOPICS, broker_config

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schema" / "response.schema.json").read_text())


def publish_once(port: int, message: Message) -> None:
    """Publish a message on a connection of its own; returns when the broker on `port` has taken it."""
    clock = SystemClock()
    connection = Dialer(broker_config(port), "once", clock, environment={}).dial()
    try:
        wait_for_ack(connection, connection.send(message), clock, 10)
    finally:
        connection.close(goodbye=True)


@contextmanager
def connected(
    config: MqttConfig, protocol: MqttVersion = "5", answer_timeout_s: float = 5.0, client_id: str = "other"
) -> Iterator[Connection]:
    """A client of the broker beside the agent."""
    connection = Connection(config, client_id, protocol, environment={})
    try:
        connection.open(SystemClock(), answer_timeout_s=answer_timeout_s)
        yield connection
    finally:
        connection.close(goodbye=True)


def use(connection: Connection, timeout_s: float) -> None:
    """Connect, subscribe to requests, and receive until the connection's error is raised."""
    connection.open(SystemClock(), answer_timeout_s=timeout_s)
    connection.subscribe(TOPICS.request("#"))
    while True:
        connection.step(timeout_s)


class MemoryEvents:
    """An EventQueue that lasts as long as the process."""

    place: OutboxPlace = "memory"
    dropped = 0

    def __init__(self) -> None:
        self._events: list[LabelChanged] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: LabelChanged) -> None:
        with self._lock:
            self._events.append(event)

    def after(self, seq: int) -> LabelChanged | None:
        with self._lock:
            return next((event for event in self._events if event.seq > seq), None)

    def remove(self, seq: int) -> None:
        with self._lock:
            self._events = [event for event in self._events if event.seq != seq]

    def tick(self) -> None:
        """Nothing is ever due."""


def make_publisher(config: MqttConfig, **options: Any) -> Publisher:
    """A publisher that has not been started; its events wait in memory unless `options` say otherwise."""
    settings: dict[str, Any] = {"clock": SystemClock(), "events": MemoryEvents(), "environment": {}} | options
    return Publisher(config, TOPICS, **settings)


@contextmanager
def publishing(
    config: MqttConfig, wait: bool = True, subscriptions: Sequence[Subscription] = (), **options: Any
) -> Iterator[Publisher]:
    """A publisher that runs; with `wait` it is connected."""
    publisher = make_publisher(config, **options)
    for subscription in subscriptions:
        publisher.listen(subscription)
    publisher.start()
    try:
        if wait:
            wait_connected(publisher)
        yield publisher
    finally:
        publisher.stop()


def wait_connected(publisher: Publisher | BrokerLink, timeout_s: float = 10.0) -> None:
    wait_until(lambda: publisher.status.connected, timeout_s)


def is_(topic: str, payload: bytes | None = None) -> Callable[[Incoming], bool]:
    """Whether a message is on that topic, with that payload where one is given."""
    return lambda message: message.topic == topic and payload in (None, message.payload)


def passwords(directory: Path) -> Path:
    """A password file with the user `agent`, whose password is `right`."""
    file = directory / "passwords"
    file.touch()
    file.chmod(0o644)
    subprocess.run([program("mosquitto_passwd"), "-b", file, "agent", "right"], check=True)
    return file


class FakeAgent:
    """Does what it is asked, and remembers it."""

    def __init__(self) -> None:
        self.paused = False
        self.picture: bytes | None = b"\xff\xd8jpeg"
        self.problem: ConfigError | None = None
        self.restarted = False
        self.settings: dict[str, Any] = {}
        self.lessons: list[LessonRequest] = []
        self.heads: list[HeadRequest] = []
        self.models: list[ModelSource] = []

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def snapshot(self) -> bytes:
        if self.picture is None:
            raise SourceError("no frame has been captured yet")
        return self.picture

    def reload(self) -> Reloaded:
        if self.problem is not None:
            raise self.problem
        return Reloaded(("source.fps",), restarts=False)

    def restart(self) -> None:
        self.restarted = True

    def override(self, settings: Mapping[str, float]) -> Reloaded:
        if self.problem is not None:
            raise self.problem
        self.settings = dict(settings)
        return Reloaded(tuple(settings), restarts=False)

    def patch(self, settings: Mapping[str, Any]) -> Reloaded:
        return self.override(settings)

    def take_head(self, head: HeadRequest) -> dict[str, Any]:
        self.heads.append(head)
        return {"labels": {}, "problem": ""}

    def install_model(self, source: ModelSource) -> dict[str, Any]:
        self.models.append(source)
        return {"state": "downloading"}

    def teach(self, lesson: LessonRequest) -> dict[str, Any]:
        if self.problem is not None:
            raise self.problem
        self.lessons.append(lesson)
        return {"labels": {lesson.label: 1}}

    def config(self) -> Config:
        return Config(
            source=SourceConfig(rtsp=RtspConfig(url=SecretUrl("rtsp://me:hunter2@cam/1"))),
            mqtt=MqttConfig(password=Secret("hunter2")),
        )


class Bench:
    """Requests to a FakeAgent without a broker; each answer is checked against its schema."""

    def __init__(self, max_per_minute: int = 60, agent: FakeAgent | None = None) -> None:
        self.agent = agent or FakeAgent()
        self.clock = FakeClock()
        self.sent: list[Message] = []
        self.control = Control(
            TOPICS, self.agent, self.sent.append, self.clock, max_per_minute=max_per_minute
        )

    def ask(self, verb: str, payload: bytes = b"", **properties: Any) -> list[Message]:
        self.sent.clear()
        self.control.receive(
            Incoming(TOPICS.request(verb), payload, properties.pop("retained", False), **properties)
        )
        self.control.work()
        return list(self.sent)

    def answer(self, verb: str, payload: bytes = b"", **properties: Any) -> dict[str, Any]:
        message = self.ask(verb, payload, **properties)[-1]
        decoded: dict[str, Any] = json.loads(message.payload)
        jsonschema.Draft202012Validator(SCHEMA).validate(decoded)
        return decoded

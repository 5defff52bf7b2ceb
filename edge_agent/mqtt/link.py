"""The agent's link to its broker: a publisher that is exchanged for another when the settings change."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from edge_agent.config.schema import Config
from edge_agent.mqtt.contract.homeassistant import Discovery, Identity
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import EventImageInfo, Health, Info, LabelChanged, RawPrediction, State
from edge_agent.mqtt.contract.topics import Topics, wanted_topic
from edge_agent.mqtt.events.queue import EventQueue
from edge_agent.mqtt.publisher import Publisher, Subscription
from edge_agent.mqtt.requests import Commands, Control
from edge_agent.mqtt.wire.status import BrokerStatus
from edge_agent.system.clock import Clock

_STOP_S = 0.9
_BIRTHS_PER_MINUTE = 6
_WANTED_PER_MINUTE = 30


class Witness(Protocol):
    """Sees what is published, on the thread that publishes it. Must not block."""

    def published(self, payload: State | LabelChanged | Health | Info) -> None: ...
    def pictured(self, jpeg: bytes, info: EventImageInfo) -> None: ...


class BrokerLink:
    """Hands what is published to the present publisher, and requests to the agent.

    The `publish` methods may be called from any thread; everything else belongs to the main thread. The
    latest `info` and `state` are kept, so that a new publisher greets its broker with them.
    """

    def __init__(
        self,
        config: Config,
        *,
        events: EventQueue,
        clock: Clock,
        wake: Callable[[], None],
        board: Identity | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Does not connect yet. `events` is where events wait; `wake` is called when a request has come, and
        when the connection has come or gone. `board` is what Home Assistant shows.
        """
        self._config = config
        self._events = events
        self._clock = clock
        self._wake = wake
        self._board = board or Identity()
        self._environment = environment
        self._commands: Commands | None = None
        self._control: Control | None = None
        self._on_wanted: Callable[[str, bytes], None] | None = None
        self._wanted: dict[str, bytes] = {}
        self._info: Info | None = None
        self._states: dict[str, State] = {}
        self._gone: set[str] = set()  # what was watched since the start, and is no more
        self._lessons: Mapping[str, tuple[str, ...]] = {}
        self._witness: Witness | None = None
        self._publisher = self._make_publisher()

    @property
    def status(self) -> BrokerStatus:
        """The connection at this moment."""
        return self._publisher.status

    def start(self, commands: Commands, on_wanted: Callable[[str, bytes], None] | None = None) -> None:
        """Start connecting, in the background; `commands` is what the agent can be asked to do, `on_wanted`
        takes a group's name and the message with its wanted state."""
        self._commands = commands
        self._on_wanted = on_wanted
        self._start()

    def stop(self) -> None:
        """Publish `offline` and disconnect; takes no longer than a second."""
        self._publisher.stop(_STOP_S)

    def reconnect(self, config: Config) -> None:
        """Publish `offline` to the old broker, then connect to the new one, with all that `config` says."""
        self.stop()
        self._config = config
        publisher = self._make_publisher()
        if self._info is not None:
            publisher.publish_info(self._info)
        for state in self._states.values():
            publisher.publish_state(state)
        self._publisher = publisher
        self._start()

    def adopt(self, config: Config) -> None:
        """Follow those settings that take no new connection; what is watched no more is forgotten."""
        before, watched = self._discovery.message(), set(self._config.watched)
        self._config = config
        gone = watched - set(config.watched)
        self._gone = (self._gone | gone) - set(config.watched)
        self._announce_other_than(before)
        for region in gone:
            self._states.pop(region, None)
            self._publisher.forget(region)
        if self._control is not None:
            self._control.limit(config.control.max_per_minute)

    def teach(self, lessons: Mapping[str, tuple[str, ...]]) -> None:
        """Let Home Assistant teach: `lessons` are the labels, of each view that can be taught."""
        before, self._lessons = self._discovery.message(), lessons
        self._announce_other_than(before)

    def carry_out_requests(self) -> None:
        """Do what was requested over MQTT, and answer; follow the wanted state of groups."""
        if self._control is not None:
            self._control.work()
        while self._wanted and self._on_wanted is not None:
            self._on_wanted(*self._wanted.popitem())

    def show_to(self, witness: Witness) -> None:
        """Let `witness` see what is published from now on. Call it before anything is."""
        self._witness = witness

    def publish_state(self, state: State) -> None:
        self._states[state.region] = state
        self._show(state)
        self._publisher.publish_state(state)

    def publish_health(self, health: Health) -> None:
        self._show(health)
        self._publisher.publish_health(health)

    def publish_info(self, info: Info) -> None:
        self._info = info
        self._show(info)
        self._publisher.publish_info(info)

    def publish_event(self, changed: LabelChanged) -> None:
        self._show(changed)
        self._publisher.publish_event(changed)

    def publish_prediction(self, prediction: RawPrediction) -> None:
        self._publisher.publish_prediction(prediction)

    def publish_image(self, jpeg: bytes) -> None:
        self._publisher.publish_image(jpeg)

    def publish_event_image(self, jpeg: bytes, info: EventImageInfo) -> None:
        if self._witness is not None:
            self._witness.pictured(jpeg, info)
        self._publisher.publish_event_image(jpeg, info)

    def publish(self, message: Message) -> None:
        """Publish any other message: an answer, a discovery message."""
        self._publisher.publish(message)

    def _show(self, payload: State | LabelChanged | Health | Info) -> None:
        if self._witness is not None:
            self._witness.published(payload)

    def _announce_other_than(self, before: Message) -> None:
        """Tell Home Assistant of the device as it is now, where that is another message."""
        message = self._discovery.message()
        if self._config.homeassistant.enabled and message != before:
            self._publisher.announce((message,))

    @property
    def _topics(self) -> Topics:
        return Topics(self._config.mqtt.base_topic, self._config.device_id)

    @property
    def _discovery(self) -> Discovery:
        return Discovery.from_config(
            self._config, self._topics, self._board, gone=tuple(sorted(self._gone)), lessons=self._lessons
        )

    def _on_birth(self, message: Incoming) -> None:
        """Home Assistant has started: announce the device as it is now."""
        self._discovery.on_birth(self.publish)(message)

    def _make_publisher(self) -> Publisher:
        """A publisher that Home Assistant learns of where it is enabled; not started."""
        config = self._config
        discovery = self._discovery
        is_announced = config.homeassistant.enabled
        publisher = Publisher(
            config.mqtt,
            self._topics,
            clock=self._clock,
            events=self._events,
            announcements=(discovery.message(),) if is_announced else (),
            on_status=lambda _: self._wake(),
            environment=self._environment,
        )
        if is_announced:
            publisher.listen(
                Subscription(discovery.birth_topic, self._on_birth, per_minute=_BIRTHS_PER_MINUTE)
            )
        return publisher

    def _start(self) -> None:
        self._control = self._make_control()
        if self._control is not None:
            self._publisher.listen(Subscription(self._topics.request("#"), self._control.receive))
        for group in self._config.fleet.groups:
            topic, keep = wanted_topic(self._config.mqtt.base_topic, group), partial(self._keep_wanted, group)
            self._publisher.listen(Subscription(topic, keep, _WANTED_PER_MINUTE, retained=True))
        self._publisher.start()

    def _keep_wanted(self, group: str, message: Incoming) -> None:
        """Leave the newest message of a group for the main thread."""
        self._wanted[group] = message.payload
        self._wake()

    def _make_control(self) -> Control | None:
        if not self._config.control.enabled or self._commands is None:
            return None
        return Control(
            self._topics,
            self._commands,
            self.publish,
            self._clock,
            max_per_minute=self._config.control.max_per_minute,
            discovery_prefix=self._config.homeassistant.discovery_prefix,
            wake=self._wake,
        )

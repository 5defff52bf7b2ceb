"""The agent's link to its broker: a publisher that is exchanged for another when the settings change."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.config.schema import Config
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.payloads import Health, Info, LabelChanged, RawPrediction, State
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.publisher import Publisher, Subscription
from edge_agent.mqtt.requests import Commands, Control
from edge_agent.mqtt.wire.status import BrokerStatus
from edge_agent.system.clock import Clock

_STOP_S = 0.9

MakePublisher = Callable[[Config, Topics, tuple[Subscription, ...]], Publisher]


class BrokerLink:
    """Passes on what is published to the present publisher, and requests to the agent.

    What is published may come from any thread; everything else belongs to the main thread. The latest `info`
    and `state` are kept, so that a new publisher greets its broker with them as well.
    """

    def __init__(self, config: Config, make: MakePublisher, clock: Clock, wake: Callable[[], None]) -> None:
        """`make` returns a publisher that has not been started; `wake` is called when a request has come."""
        self._config = config
        self._make = make
        self._clock = clock
        self._wake = wake
        self._publisher: Publisher | None = None
        self._commands: Commands | None = None
        self._control: Control | None = None
        self._info: Info | None = None
        self._state: State | None = None

    @property
    def status(self) -> BrokerStatus:
        return self._publisher.status if self._publisher else BrokerStatus()

    def start(self, commands: Commands) -> None:
        """Start connecting, in the background; `commands` is what the agent can be asked to do."""
        self._commands = commands
        self._open(self._config)

    def stop(self) -> None:
        """Publish `offline` and disconnect; takes no longer than a second."""
        if self._publisher is not None:
            self._publisher.stop(_STOP_S)

    def reconnect(self, config: Config) -> None:
        """Say `offline` to the broker of before, and go on with the one of `config`."""
        self.stop()
        self._open(config)

    def adopt(self, config: Config) -> None:
        """Follow settings that take no new connection."""
        self._config = config
        if self._control is not None:
            self._control.limit(config.control.max_per_minute)

    def carry_out_requests(self) -> None:
        """Do what was asked for over MQTT, and answer."""
        if self._control is not None:
            self._control.work()

    def publish_state(self, state: State) -> None:
        self._state = state
        if self._publisher is not None:
            self._publisher.publish_state(state)

    def publish_health(self, health: Health) -> None:
        if self._publisher is not None:
            self._publisher.publish_health(health)

    def publish_info(self, info: Info) -> None:
        self._info = info
        if self._publisher is not None:
            self._publisher.publish_info(info)

    def publish_event(self, changed: LabelChanged) -> None:
        if self._publisher is not None:
            self._publisher.publish_event(changed)

    def publish_prediction(self, prediction: RawPrediction) -> None:
        if self._publisher is not None:
            self._publisher.publish_prediction(prediction)

    def publish_image(self, jpeg: bytes) -> None:
        if self._publisher is not None:
            self._publisher.publish_image(jpeg)

    def publish(self, message: Message) -> None:
        """Publish any other message: an answer, a discovery message."""
        if self._publisher is not None:
            self._publisher.publish(message)

    def _open(self, config: Config) -> None:
        self._config = config
        topics = Topics(config.mqtt.base_topic, config.device_id)
        self._control = self._make_control(config, topics)
        subscriptions = (Subscription(topics.request("#"), self._control.receive),) if self._control else ()
        publisher = self._make(config, topics, subscriptions)
        if self._info is not None:
            publisher.publish_info(self._info)
        if self._state is not None:
            publisher.publish_state(self._state)
        publisher.start()
        self._publisher = publisher

    def _make_control(self, config: Config, topics: Topics) -> Control | None:
        if not config.control.enabled or self._commands is None:
            return None
        limit = config.control.max_per_minute
        return Control(
            topics, self._commands, self.publish, self._clock, max_per_minute=limit, wake=self._wake
        )

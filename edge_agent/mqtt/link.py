"""The agent's link to its broker: a publisher that is exchanged for another when the settings change."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.config.schema import Config
from edge_agent.mqtt.client import Publisher
from edge_agent.mqtt.payloads import Health, Info, LabelChanged, RawPrediction, State
from edge_agent.mqtt.status import BrokerStatus

_STOP_S = 0.9


class BrokerLink:
    """Passes on what is published to the present publisher; may be used from any thread.

    `info` is kept, so that a new publisher greets the broker with it as well.
    """

    def __init__(self, config: Config, make: Callable[[Config], Publisher]) -> None:
        """`make` returns a publisher that has not been started, for a configuration."""
        self._make = make
        self._publisher = make(config)
        self._info: Info | None = None

    @property
    def status(self) -> BrokerStatus:
        return self._publisher.status

    def start(self) -> None:
        """Start connecting, in the background."""
        self._publisher.start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait for the first connection; returns whether there has been one."""
        return self._publisher.wait_connected(timeout_s)

    def stop(self) -> None:
        """Publish `offline` and disconnect; takes no longer than a second."""
        self._publisher.stop(_STOP_S)

    def reconnect(self, config: Config) -> None:
        """Say `offline` to the broker of before, and go on with the one of `config`."""
        self._publisher.stop(_STOP_S)
        publisher = self._make(config)
        if self._info is not None:
            publisher.publish_info(self._info)
        publisher.start()
        self._publisher = publisher

    def publish_state(self, state: State) -> None:
        self._publisher.publish_state(state)

    def publish_health(self, health: Health) -> None:
        self._publisher.publish_health(health)

    def publish_info(self, info: Info) -> None:
        self._info = info
        self._publisher.publish_info(info)

    def publish_event(self, changed: LabelChanged) -> None:
        self._publisher.publish_event(changed)

    def publish_prediction(self, prediction: RawPrediction) -> None:
        self._publisher.publish_prediction(prediction)

    def publish_image(self, jpeg: bytes) -> None:
        self._publisher.publish_image(jpeg)

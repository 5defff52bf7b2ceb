"""The devices as an MQTT client sees them: any broker will do. Publishes what devices are to have."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from edge_agent.config.schema import MqttConfig
from edge_agent.errors import BrokerError
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.wire.brokers import Brokers
from edge_agent.mqtt.wire.connection import Ack, Connection
from edge_agent.mqtt.wire.status import BrokerConnectionError
from edge_agent.system.clock import Clock
from edge_agent.tools.fleet.devices import Device

_AGAIN_S = 2.0
_ANSWER_S = 30.0
_FOLLOWED = ("health", "info")


class Field:
    """Follows `health` and `info` of devices below a base topic. Used by one thread; `close` it."""

    def __init__(
        self,
        config: MqttConfig,
        clock: Clock,
        sleep: Callable[[float], object],
        environment: Mapping[str, str] = os.environ,
        *,
        only: str = "",
    ) -> None:
        """Follow the device `only`, or all. Raises BrokerConnectionError where no broker accepts a
        connection."""
        self.devices: dict[str, Device] = {}
        self._base = config.base_topic
        self._followed = only or "+"
        self._clock = clock
        self._sleep = sleep
        client_id = f"edge-agent-fleet-{os.getpid()}"
        self._brokers = Brokers(config, client_id, clock, environment=environment)
        self._connection = self._connected()

    def close(self) -> None:
        self._connection.close(goodbye=True)

    def look(self, seconds: float) -> None:
        """Take what comes for so long. Raises BrokerConnectionError where no broker is left."""
        end_s = self._clock.monotonic_s() + seconds
        while (left_s := end_s - self._clock.monotonic_s()) > 0:
            try:
                for item in self._connection.step(min(left_s, 1.0)):
                    self._take(item)
            except BrokerConnectionError:
                self._reconnect()

    def publish(self, message: Message) -> None:
        """Publish, and wait until a broker has taken it. Raises BrokerError where it refuses or is silent."""
        end_s = self._clock.monotonic_s() + _ANSWER_S
        while self._clock.monotonic_s() < end_s:
            try:
                if self._sent(message, end_s):
                    return
            except BrokerConnectionError:
                self._reconnect()
        raise BrokerError(f"{message.topic} could not be published: no broker has acknowledged it")

    def _sent(self, message: Message, end_s: float) -> bool:
        mid = self._connection.send(message)
        while (left_s := end_s - self._clock.monotonic_s()) > 0:
            for item in self._connection.step(min(left_s, 1.0)):
                if isinstance(item, Ack) and item.mid == mid:
                    if item.refused:
                        raise BrokerError(f"the broker refused {message.topic}: {item.reason}")
                    return True
                self._take(item)
        return False

    def _connected(self) -> Connection:
        connection = self._brokers.dial_any()
        topics = [f"{self._base}/{self._followed}/{kind}" for kind in _FOLLOWED]
        connection.subscribe(*topics, retained=True)
        return connection

    def _reconnect(self) -> None:
        """Go to the next broker. Raises BrokerConnectionError where none accepts the connection twice."""
        self._connection.close(goodbye=False)
        self._brokers.next()
        with suppress(BrokerConnectionError):
            self._connection = self._connected()
            return
        self._sleep(_AGAIN_S)
        self._connection = self._connected()

    def _take(self, item: object) -> None:
        if not isinstance(item, Incoming):
            return
        name, _, kind = item.topic.removeprefix(f"{self._base}/").partition("/")
        at_s = _said_at(item.payload, self._clock.time_s()) if item.retained else self._clock.time_s()
        device = self.devices.get(name) or Device(name)
        with suppress(ValueError):
            self.devices[name] = device.with_payload(kind, item.payload, at_s)


def _said_at(payload: bytes, now_s: float) -> float:
    """When a message that a broker kept was made, by the device's own clock; now where it does not know."""
    try:
        given = json.loads(payload)
        if given["ts_synced"] is True:
            return min(datetime.fromisoformat(given["ts"]).timestamp(), now_s)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return now_s

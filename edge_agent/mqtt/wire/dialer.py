"""Opens connections, in the MQTT version that the broker speaks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from edge_agent.config.schema import MqttConfig
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.wire.connection import Connection, MqttVersion
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.clock import Clock
from edge_agent.system.wake import Wake

# How brokers that know only MQTT 3.1.1 react to an MQTT 5 greeting: some say so, some hang up, some wait.
_MAY_MEAN_MQTT_3 = (Trouble.PROTOCOL, Trouble.CLOSED, Trouble.SILENT)


class Dialer:
    """Tries MQTT 5, then 3.1.1 if that is refused; remembers a broker that gave the version as reason."""

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        clock: Clock,
        *,
        will: Message | None = None,
        environment: Mapping[str, str] = os.environ,
        answer_timeout_s: float = 10.0,
    ) -> None:
        self._config = config
        self._client_id = client_id
        self._clock = clock
        self._will = will
        self._environment = environment
        self._answer_timeout_s = answer_timeout_s
        self._speaks: MqttVersion | None = None if config.protocol == "auto" else config.protocol

    def dial(self, wake: Wake | None = None, cancelled: Callable[[], bool] = lambda: False) -> Connection:
        """Return an open connection. Raises BrokerConnectionError (see `Connection.open`)."""
        if self._speaks is not None:
            return self._open(self._speaks, wake, cancelled)
        try:
            return self._open("5", wake, cancelled)
        except BrokerConnectionError as error:
            if error.trouble not in _MAY_MEAN_MQTT_3 or cancelled():
                raise
            connection = self._open("3.1.1", wake, cancelled)
            if error.trouble is Trouble.PROTOCOL:
                self._speaks = "3.1.1"  # the broker said so, while silence can have other reasons
            return connection

    def _open(self, protocol: MqttVersion, wake: Wake | None, cancelled: Callable[[], bool]) -> Connection:
        connection = Connection(
            self._config, self._client_id, protocol, will=self._will, environment=self._environment
        )
        connection.open(self._clock, answer_timeout_s=self._answer_timeout_s, wake=wake, cancelled=cancelled)
        return connection

"""Opens connections, in the MQTT version that the broker speaks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping

from edge_agent.config.schema import MqttConfig
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.wire.connection import BrokerLimits, Connection, MqttVersion
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.clock import Clock
from edge_agent.system.lookup import Lookup
from edge_agent.system.wake import Wake

# How brokers that know only MQTT 3.1.1 react to an MQTT 5 greeting: some say so, some hang up, some wait.
_MAY_MEAN_MQTT_3 = (Trouble.PROTOCOL, Trouble.CLOSED, Trouble.SILENT)

_HANG_UPS = 3  # in a row, before less is tried
_AT_ONCE_S = 3.0  # who hangs up later than that has not done it for what the greeting says
_LESS = (
    BrokerLimits(retain=False),
    BrokerLimits(qos=0),
    BrokerLimits(retain=False, qos=0),
)


class Dialer:
    """Tries MQTT 5, then 3.1.1 if that is refused; remembers a broker that gave the version as reason.

    It also learns which brokers take no retained messages or no QoS 1, the last will included.
    """

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        clock: Clock,
        *,
        will: Message | None = None,
        environment: Mapping[str, str] = os.environ,
        answer_timeout_s: float = 10.0,
        lookup: Lookup | None = None,
        is_alone: bool = True,
    ) -> None:
        """`is_alone` says that there is no other broker: what hangs up where there are others is in trouble,
        as a node of a cluster without its fellows is."""
        self._is_alone = is_alone
        self._lookup = lookup or Lookup()
        self._config = config
        self._client_id = client_id
        self._clock = clock
        self._will = will
        self._environment = environment
        self._answer_timeout_s = answer_timeout_s
        self._limits = BrokerLimits()
        self._hang_ups = 0
        self._speaks: MqttVersion | None = None if config.protocol == "auto" else config.protocol

    def dial(self, wake: Wake | None = None, cancelled: Callable[[], bool] = lambda: False) -> Connection:
        """Return an open connection. Raises BrokerConnectionError (see `Connection.open`)."""
        try:
            connection = self._dial(wake, cancelled)
        except BrokerConnectionError as error:
            if self.learn(error.trouble):
                return self.dial(wake, cancelled)
            self._lookup.turn()
            self._hang_ups = self._hang_ups + 1 if error.trouble is Trouble.CLOSED else 0
            may_be_less = self._is_alone and self._hang_ups >= _HANG_UPS
            if not may_be_less or self._speaks == "5" or cancelled():
                raise
            return self._dial_with_less(error, wake, cancelled)
        self._hang_ups = 0
        return connection

    def learn(self, trouble: Trouble) -> bool:
        """Note what the broker does not take; returns whether that is new."""
        known = self._limits
        if trouble is Trouble.NO_RETAIN:
            self._limits = dataclasses.replace(known, retain=False)
        if trouble is Trouble.NO_QOS:
            self._limits = dataclasses.replace(known, qos=0)
        return self._limits != known

    def _dial(self, wake: Wake | None, cancelled: Callable[[], bool]) -> Connection:
        if self._speaks is not None:
            return self._open(self._speaks, self._limits, wake, cancelled)
        try:
            return self._open("5", self._limits, wake, cancelled)
        except BrokerConnectionError as error:
            if error.trouble not in _MAY_MEAN_MQTT_3 or cancelled():
                raise
            connection = self._open("3.1.1", self._limits, wake, cancelled)
            if error.trouble is Trouble.PROTOCOL:
                self._speaks = "3.1.1"  # the broker said so, while silence can have other reasons
            return connection

    def _dial_with_less(
        self, error: BrokerConnectionError, wake: Wake | None, cancelled: Callable[[], bool]
    ) -> Connection:
        """Try without what a broker may not offer: in 3.1.1 it has no way to say so, and hangs up.

        Raises BrokerConnectionError where that is not why.
        """
        for less in _LESS:
            try:
                self._open("3.1.1", less, wake, cancelled).close(goodbye=True)
            except BrokerConnectionError:
                continue
            try:
                return self._dial(wake, cancelled)  # it was not that, it has only just come back
            except BrokerConnectionError as again:
                if again.trouble is not Trouble.CLOSED:
                    raise  # it is in trouble, which says nothing of what it takes
                connection = self._open("3.1.1", less, wake, cancelled)
                self._speaks, self._limits = "3.1.1", less
                return connection
        raise error

    def _open(
        self, protocol: MqttVersion, limits: BrokerLimits, wake: Wake | None, cancelled: Callable[[], bool]
    ) -> Connection:
        connection = Connection(
            self._config,
            self._client_id,
            protocol,
            will=self._will,
            limits=limits,
            environment=self._environment,
            lookup=self._lookup,
        )
        begun_s = self._clock.monotonic_s()
        try:
            connection.open(
                self._clock, answer_timeout_s=self._answer_timeout_s, wake=wake, cancelled=cancelled
            )
        except BrokerConnectionError as error:
            if error.trouble is Trouble.CLOSED and self._clock.monotonic_s() - begun_s > _AT_ONCE_S:
                raise BrokerConnectionError(Trouble.SILENT, error.detail) from error
            raise
        return connection

"""The brokers that an agent may use, tried in turn; mostly there is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from edge_agent.config.schema import MqttConfig
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.wire.connection import Connection
from edge_agent.mqtt.wire.credentials import each_broker
from edge_agent.mqtt.wire.dialer import Dialer
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.clock import Clock
from edge_agent.system.lookup import Lookup
from edge_agent.system.wake import Wake


class Brokers:
    """Those of `mqtt.hosts`, or the one of `mqtt.host`. What is learned of one is not believed of another."""

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
        first: float = 0.0,
    ) -> None:
        """`first`, in [0, 1), says where in the list to begin: at random, many agents spread over the list.

        The other parameters are those of `Dialer`.
        """
        settings = each_broker(config)
        self._dialers = tuple(
            Dialer(
                each,
                client_id,
                clock,
                will=will,
                environment=environment,
                answer_timeout_s=answer_timeout_s,
                lookup=lookup,
                is_alone=len(settings) == 1,
            )
            for each in settings
        )
        self._turn = int(first * len(self._dialers)) % len(self._dialers)
        self._refusals = 0

    def __len__(self) -> int:
        return len(self._dialers)

    def dial(self, wake: Wake | None = None, cancelled: Callable[[], bool] = lambda: False) -> Connection:
        """Connect to the broker whose turn it is. Raises BrokerConnectionError (see `Connection.open`)."""
        return self._dialers[self._turn].dial(wake, cancelled)

    def dial_any(self) -> Connection:
        """Connect to the first that accepts, each tried once.

        Raises the last one's BrokerConnectionError where none does.
        """
        for _ in self._dialers[1:]:
            try:
                return self.dial()
            except BrokerConnectionError as error:
                self.next(error.trouble)
        return self.dial()

    def learn(self, trouble: Trouble) -> bool:
        """Note what the broker does not take; returns whether that is new."""
        return self._dialers[self._turn].learn(trouble)

    def next(self, trouble: Trouble = Trouble.LOST) -> bool:
        """It is the next one's turn, after that trouble with this one.

        Returns whether it can be tried at once: this one has refused, which took nobody's time, and not all
        others have.
        """
        self._turn = (self._turn + 1) % len(self._dialers)
        self._refusals = self._refusals + 1 if trouble is Trouble.REFUSED else 0
        return self._refusals % len(self._dialers) > 0

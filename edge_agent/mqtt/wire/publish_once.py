"""Publishes one message and waits for the broker's answer: for commands, which have no publisher running."""

from __future__ import annotations

import os
from collections.abc import Mapping

from edge_agent.config.schema import MqttConfig
from edge_agent.errors import BrokerError
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.wire.connection import Ack, Connection
from edge_agent.mqtt.wire.credentials import client_id
from edge_agent.mqtt.wire.dialer import Dialer
from edge_agent.system.clock import Clock


def publish_once(
    config: MqttConfig,
    device_id: str,
    message: Message,
    clock: Clock,
    *,
    environment: Mapping[str, str] = os.environ,
    timeout_s: float = 10.0,
) -> str:
    """Publish `message`, and return the broker's address; does not disturb an agent that is connected.

    Raises BrokerError when there is no connection, or the broker refuses the message or does not answer.
    """
    dialer = Dialer(
        config,
        f"{client_id(config, device_id)}-once",
        clock,
        environment=environment,
        answer_timeout_s=timeout_s,
    )
    connection = dialer.dial()
    try:
        wait_for_ack(connection, connection.send(message), clock, timeout_s)
    finally:
        connection.close(goodbye=True)
    return connection.address


def wait_for_ack(connection: Connection, mid: int, clock: Clock, timeout_s: float) -> None:
    """Return when the broker has taken the message `mid`. Raises BrokerError when it refuses or is silent."""
    deadline_s = clock.monotonic_s() + timeout_s
    while (left_s := deadline_s - clock.monotonic_s()) > 0:
        for item in connection.step(left_s):
            if isinstance(item, Ack) and item.mid == mid:
                if item.refused:
                    raise BrokerError(
                        f"the broker at {connection.address} refused the message: {item.reason}"
                    )
                return
    raise BrokerError(f"the broker at {connection.address} has not acknowledged the message")

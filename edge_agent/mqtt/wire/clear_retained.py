"""Removes what the broker keeps of a device: for commands, which have no publisher running."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from edge_agent.config.schema import MqttConfig
from edge_agent.errors import BrokerError
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.wire.brokers import Brokers
from edge_agent.mqtt.wire.connection import Ack, Connection
from edge_agent.mqtt.wire.credentials import client_id
from edge_agent.mqtt.wire.status import BrokerConnectionError
from edge_agent.system.clock import Clock

_QUIET_S = 1.0
_MOST = 1000


def clear_retained(
    config: MqttConfig,
    device_id: str,
    topics: Iterable[str],
    everything_below: str,
    clock: Clock,
    *,
    environment: Mapping[str, str] = os.environ,
    timeout_s: float = 10.0,
) -> tuple[str, tuple[Incoming, ...]]:
    """Remove the retained messages of `topics`, in that order, then all others below `everything_below`.

    Returns the broker's address, and what else there was. Where the broker does not let this user read, or
    holds what is too large to be received, only `topics` are removed.
    Raises BrokerError when there is no connection, or the broker refuses a removal or does not answer.
    """
    brokers = Brokers(
        config,
        f"{client_id(config, device_id)}-clear",
        clock,
        environment=environment,
        answer_timeout_s=timeout_s,
    )
    connection = brokers.dial_any()
    try:
        for topic in topics:
            _remove(connection, topic, clock, timeout_s)
        others = _retained(connection, f"{everything_below}/#", clock)
        for message in others:
            _remove(connection, message.topic, clock, timeout_s)
    finally:
        connection.close(goodbye=True)
    return connection.address, others


def _remove(connection: Connection, topic: str, clock: Clock, timeout_s: float) -> None:
    mid = connection.send(Message(topic, b"", retain=True))
    wait_for_ack(connection, mid, clock, timeout_s)


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


def _retained(connection: Connection, pattern: str, clock: Clock) -> tuple[Incoming, ...]:
    """What the broker keeps there: it comes at once after subscribing, until nothing more does."""
    found: dict[str, Incoming] = {}
    connection.subscribe(pattern, retained=True)
    until_s = clock.monotonic_s() + _QUIET_S
    try:
        while (left_s := until_s - clock.monotonic_s()) > 0 and len(found) < _MOST:
            for item in connection.step(left_s):
                if isinstance(item, Incoming) and item.retained and item.payload:
                    found[item.topic] = item
                    until_s = clock.monotonic_s() + _QUIET_S
    except BrokerConnectionError:
        return ()
    return tuple(found.values())

"""Tries the broker connection once and reports the result: for `edge-agent doctor`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from edge_agent.config.schema import MqttConfig
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.wire.credentials import address, client_id, each_broker
from edge_agent.mqtt.wire.dialer import Dialer
from edge_agent.mqtt.wire.status import REMEDIES, BrokerConnectionError, Trouble
from edge_agent.system.clock import Clock


@dataclass(frozen=True, slots=True)
class BrokerProbe:
    """The result of one attempt to connect."""

    address: str
    protocol: str
    """`5` or `3.1.1`; empty when there was no connection."""
    trouble: Trouble | None
    """None: the broker accepts the agent."""
    detail: str

    @property
    def remedy(self) -> str:
        """Advice about the trouble; empty if there is none."""
        return REMEDIES[self.trouble] if self.trouble else ""


def probe(
    config: MqttConfig,
    device_id: str,
    clock: Clock,
    *,
    environment: Mapping[str, str] = os.environ,
    answer_timeout_s: float = 5.0,
) -> tuple[BrokerProbe, ...]:
    """Connect to each broker as the agent would, and disconnect; returns the results in their order.

    The client id ends in `-probe`: with the agent's own, the broker would disconnect a running agent.
    """
    return tuple(
        _probe(each, device_id, clock, environment, answer_timeout_s) for each in each_broker(config)
    )


def _probe(
    config: MqttConfig, device_id: str, clock: Clock, environment: Mapping[str, str], answer_timeout_s: float
) -> BrokerProbe:
    dialer = Dialer(
        config,
        f"{client_id(config, device_id)}-probe",
        clock,
        environment=environment,
        answer_timeout_s=answer_timeout_s,
    )
    try:
        connection = dialer.dial()
    except BrokerConnectionError as error:
        return BrokerProbe(address(config), "", error.trouble, error.detail)
    connection.close(goodbye=True)
    detail = f"connected to {connection.address} with MQTT {connection.protocol}"
    return BrokerProbe(address(config), connection.protocol, None, detail)

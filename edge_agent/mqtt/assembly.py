"""Makes a publisher as the configuration says, and has Home Assistant discover the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from edge_agent.config.schema import Config
from edge_agent.mqtt.contract.homeassistant import Discovery
from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.events.queue import EventQueue
from edge_agent.mqtt.publisher import Publisher, Subscription
from edge_agent.mqtt.wire.status import BrokerStatus
from edge_agent.system.clock import Clock


def make_publisher(
    config: Config,
    topics: Topics,
    subscriptions: Sequence[Subscription],
    *,
    clock: Clock,
    events: EventQueue,
    on_status: Callable[[BrokerStatus], None],
    environment: Mapping[str, str] = os.environ,
) -> Publisher:
    """A publisher that has not been started (see `Publisher` for the parameters)."""
    discovery = Discovery(
        config.homeassistant, topics, control=config.control.enabled, image=config.publish.image
    )

    def announce() -> list[Message]:
        return [discovery.message()] if config.homeassistant.enabled else []

    publisher = Publisher(
        config.mqtt,
        topics,
        clock=clock,
        events=events,
        subscriptions=subscriptions,
        announce=announce,
        on_status=on_status,
        environment=environment,
    )
    if config.homeassistant.enabled:
        publisher.listen(Subscription(discovery.birth_topic, discovery.on_birth(publisher.publish)))
    return publisher

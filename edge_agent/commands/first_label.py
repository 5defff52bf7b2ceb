"""Wait for the running service's next label, as any subscriber receives it: install.sh ends with this.

  edge-agent first-label --config /etc/edge-agent/edge-agent.yaml --timeout 120

Labels that the broker has kept from before do not count. Exit code 1 when none arrives in time.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.loader import load
from edge_agent.config.schema import Config
from edge_agent.errors import EXIT_OK, BrokerError
from edge_agent.mqtt.contract.message import Incoming
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.wire.dialer import Dialer
from edge_agent.system.clock import Clock, SystemClock
from edge_agent.system.text import printable


@dataclass(frozen=True, slots=True)
class ReceivedState:
    """A `state` message that arrived."""

    label: str
    score: float
    topic: str
    broker: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the service's configuration"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=120.0, help="how long to wait (default: 120)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the label, and where it came from. Raises ConfigError or BrokerError."""
    state = wait_for_label(load(args.config), SystemClock(), args.timeout)
    print(f"{printable(state.label)} ({state.score:.2f}) on {state.topic} at {state.broker}")
    return EXIT_OK


def wait_for_label(config: Config, clock: Clock, timeout_s: float) -> ReceivedState:
    """Return the first `state` that is published from now on; a retained one does not count.

    Raises BrokerError when the broker cannot be reached, or when none arrives within `timeout_s`.
    """
    topic = Topics(config.mqtt.base_topic, config.device_id).state
    deadline_s = clock.monotonic_s() + timeout_s
    connection = Dialer(config.mqtt, f"edge-agent-install-{os.getpid()}", clock).dial()
    try:
        connection.subscribe(topic)
        while (left_s := deadline_s - clock.monotonic_s()) > 0:
            for arrived in connection.step(min(left_s, config.mqtt.keepalive_s / 2)):
                if isinstance(arrived, Incoming) and not arrived.retained:
                    state = json.loads(arrived.payload)
                    return ReceivedState(state["label"], state["score"], topic, connection.address)
    finally:
        connection.close(goodbye=True)
    raise BrokerError(f"no label arrived on {topic} at {connection.address} within {timeout_s:.0f} s")

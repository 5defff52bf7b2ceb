"""Waits until the running service's next label arrives from the broker, as any subscriber would receive it.

install.sh ends with it: `python -m edge_agent.commands.first_label --config FILE --timeout SECONDS`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.loader import load
from edge_agent.config.schema import Config
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, BrokerError, EdgeAgentError
from edge_agent.mqtt.contract.message import Incoming
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.wire.connection import Connection, MqttVersion
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class Seen:
    """A `state` message that arrived."""

    label: str
    score: float
    topic: str
    broker: str


def wait_for_label(config: Config, clock: Clock, timeout_s: float) -> Seen:
    """Return the first `state` that is published from now on; what the broker had retained does not count.

    Raises BrokerError when the broker cannot be reached, or when none arrives within `timeout_s`.
    """
    topic = Topics(config.mqtt.base_topic, config.device_id).state
    deadline_s = clock.monotonic_s() + timeout_s
    connection = _connected(config, clock)
    connection.subscribe(topic)
    try:
        while (left_s := deadline_s - clock.monotonic_s()) > 0:
            for arrived in connection.step(min(left_s, config.mqtt.keepalive_s / 2)):
                if isinstance(arrived, Incoming) and not arrived.retained:
                    state = json.loads(arrived.payload)
                    return Seen(state["label"], state["score"], topic, connection.address)
    finally:
        connection.close(goodbye=True)
    raise BrokerError(f"no label arrived on {topic} at {connection.address} within {timeout_s:.0f} s")


def _connected(config: Config, clock: Clock) -> Connection:
    """Connect in the protocol of the configuration; with `auto`, in the older one where 5 is refused."""
    wanted = config.mqtt.protocol
    protocols: tuple[MqttVersion, ...] = ("5", "3.1.1") if wanted == "auto" else (wanted,)
    for protocol in protocols:
        connection = Connection(config.mqtt, f"edge-agent-install-{os.getpid()}", protocol)
        try:
            connection.open(clock)
        except BrokerConnectionError as error:
            if error.trouble is Trouble.PROTOCOL and protocol != protocols[-1]:
                continue
            raise
        return connection
    raise AssertionError("unreachable: the last protocol returns or raises")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the label, or why there is none; returns 0 or 1."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.commands.first_label", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS")
    args = parser.parse_args(argv)
    try:
        seen = wait_for_label(load(args.config), SystemClock(), args.timeout)
    except EdgeAgentError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILURE
    print(f"{seen.label} ({seen.score:.2f}) on {seen.topic} at {seen.broker}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())

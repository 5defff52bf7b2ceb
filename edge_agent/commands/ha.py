"""Remove a device from Home Assistant and from the broker: its entities, and every message kept of it.

Set `homeassistant.enabled: false` first, or the running agent publishes the discovery message again.

  edge-agent ha remove --config /etc/edge-agent/edge-agent.yaml
  edge-agent ha remove --config /etc/edge-agent/edge-agent.yaml --device-id the-old-name
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edge_agent.errors import EXIT_OK, ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    remove = actions.add_parser("remove", help="remove the device")
    remove.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the agent's configuration: its broker"
    )
    remove.add_argument(
        "--device-id", metavar="ID", help="another device than that of the configuration: an old name of it"
    )


def run(args: argparse.Namespace) -> int:
    """Remove the retained messages, and say so. Raises ConfigError or BrokerError."""
    from edge_agent.config.loader import load
    from edge_agent.mqtt.contract.homeassistant import Discovery
    from edge_agent.mqtt.contract.topics import Topics
    from edge_agent.mqtt.wire.clear_retained import clear_retained
    from edge_agent.system.clock import SystemClock

    config = load(args.config)
    device_id = config.device_id if args.device_id is None else args.device_id
    try:
        topics = Topics(config.mqtt.base_topic, device_id)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    discovery = Discovery(config.homeassistant, topics, control=False, image=False)
    # Home Assistant's entities go first: they would not understand the empty messages of the others.
    known = (discovery.topic, *topics.retained(config.regions))
    where, others = clear_retained(
        config.mqtt, config.device_id, known, topics.root, SystemClock(), environment=os.environ
    )
    print(f"removed {discovery.topic} from the broker at {where}")
    print(f"removed every message that it kept below {topics.root}/ ({len(known) - 1 + len(others)} topics)")
    if device_id == config.device_id:
        if config.homeassistant.enabled:
            print("the agent publishes it again when it connects: set homeassistant.enabled to false")
        print("an agent that runs publishes its topics again, `availability` when it is restarted")
    return EXIT_OK

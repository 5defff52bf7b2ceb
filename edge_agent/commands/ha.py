"""Remove the device from Home Assistant: its entities there, and its discovery message on the broker.

Set `homeassistant.enabled: false` first, or the running agent publishes the message again.

  edge-agent ha remove --config /etc/edge-agent/edge-agent.yaml
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edge_agent.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    remove = actions.add_parser("remove", help="remove the device")
    remove.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the agent's configuration"
    )


def run(args: argparse.Namespace) -> int:
    """Publish the removal, and say so. Raises ConfigError or BrokerError."""
    from edge_agent.config.loader import load
    from edge_agent.mqtt.contract.homeassistant import Discovery
    from edge_agent.mqtt.contract.topics import Topics
    from edge_agent.mqtt.wire.publish_once import publish_once
    from edge_agent.system.clock import SystemClock

    config = load(args.config)
    topics = Topics(config.mqtt.base_topic, config.device_id)
    discovery = Discovery(config.homeassistant, topics, control=False, image=False)
    where = publish_once(
        config.mqtt, config.device_id, discovery.removal(), SystemClock(), environment=os.environ
    )
    print(f"removed {discovery.topic} from the broker at {where}")
    if config.homeassistant.enabled:
        print("the agent publishes it again when it connects: set homeassistant.enabled to false")
    return EXIT_OK

"""Run the agent in the foreground, as systemd does: capture, classify, publish, until told to stop.

  edge-agent run --config /etc/edge-agent/edge-agent.yaml
  edge-agent run --config here.yaml --max-frames 100

SIGTERM ends it (exit code 0), SIGHUP reads the configuration anew; a saved edit is noticed by itself.
Exit codes: 0 ended as asked, 1 failure, 2 unusable configuration or budget, 75 a restart is wanted.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edge_agent import log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", type=Path, required=True, help="the configuration file")
    parser.add_argument(
        "--max-frames", metavar="N", type=_positive, help="end after N classified frames (default: never)"
    )


def run(args: argparse.Namespace) -> int:
    from edge_agent.config.loader import load
    from edge_agent.slim import leave_out_openssl

    config = load(args.config)
    log.setup(config.log)
    if not config.mqtt.tls.enabled:
        leave_out_openssl()
    # Only now: what these import is what the line above keeps out.
    from edge_agent.agent import run_agent
    from edge_agent.clock import SystemClock

    return run_agent(
        args.config, config, clock=SystemClock(), environment=os.environ, max_frames=args.max_frames
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return number

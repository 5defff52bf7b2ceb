"""Run the agent in the foreground, as systemd does: capture, classify, publish, until it is stopped.

  edge-agent run --config /etc/edge-agent/edge-agent.yaml
  edge-agent run --config here.yaml --max-frames 100

SIGTERM ends it (exit code 0), SIGHUP makes it read the configuration again; it notices a saved edit itself.
With --last-good COPY, as the service has it, it starts with the last good configuration where it cannot run
with the file. Exit codes: 0 ended as requested, 1 failure, 2 unusable configuration or budget, 75 to be
restarted.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import EdgeAgentError, InUseError
from edge_agent.system import log

if TYPE_CHECKING:
    from edge_agent.config.last_good import LastGood
    from edge_agent.config.problem import InvalidConfigError
    from edge_agent.config.schema import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", type=Path, required=True, help="the configuration file")
    parser.add_argument(
        "--last-good",
        metavar="COPY",
        type=Path,
        help="keep a copy of each configuration that works, and start with it when FILE cannot be used",
    )
    parser.add_argument(
        "--max-frames", metavar="N", type=_positive, help="end after N classified frames (default: never)"
    )


def run(args: argparse.Namespace) -> int:
    from edge_agent.daemon.signals import end_at_once_when_stopped

    end_at_once_when_stopped()
    from edge_agent.config.last_good import LastGood
    from edge_agent.config.watch import signature, wait_for_writer
    from edge_agent.system.lean_imports import import_paho

    last_good = LastGood(args.last_good, args.config) if args.last_good else None
    wait_for_writer(args.config)
    seen = signature(args.config)
    config, refused = _usable(args.config, last_good)
    log.setup(config.log.level, config.log.format)
    if refused:
        refused.log("the configuration cannot be used, starting with the last good one")

    def start(config: Config, refused: InvalidConfigError | None) -> int:
        import_paho(os.environ, tls=config.mqtt.tls.enabled)
        # Import these after it: they would load all of paho.
        from edge_agent.daemon.agent import run_agent
        from edge_agent.system.clock import SystemClock

        return run_agent(
            args.config,
            config,
            clock=SystemClock(),
            environment=os.environ,
            seen=seen,
            max_frames=args.max_frames,
            refused=refused,
            last_good=last_good,
        )

    try:
        return start(config, refused)
    except InUseError:
        raise
    except Exception as error:
        copy = last_good.load() if last_good else None
        if copy is None or copy == config:
            return _ended(config, error)
        refused = _could_not_run(args.config, copy, config, error)
    # Outside the handler, where nothing of the first attempt is kept.
    return start(copy, refused)


def _ended(config: Config, error: Exception) -> int:
    """Log why the agent cannot run, without what the file holds; returns the exit code.

    Raises an unexpected error again.
    """
    from edge_agent.config.changes import diff, without_values
    from edge_agent.config.schema import Config

    if not isinstance(error, EdgeAgentError):
        raise error
    message = without_values(str(error), config, diff(Config(), config))
    logging.getLogger(__name__).error("the agent cannot run with the configuration: %s", message)
    return error.exit_code


def _could_not_run(file: Path, copy: Config, config: Config, error: Exception) -> InvalidConfigError:
    """Log why the file's configuration is not the one to run with, without its values."""
    from edge_agent.config.changes import diff, unusable

    logger = logging.getLogger(__name__)
    reason = str(error)
    if not isinstance(error, EdgeAgentError):
        reason = "starting has failed unexpectedly"
        log.say_defect(logger, reason, error)
    refused = unusable(str(file), config, diff(copy, config), reason)
    logger.error("the agent cannot run with the configuration: %s", refused.problems[0].message)
    refused.log("starting with the last good configuration")
    return refused


def _usable(file: Path, last_good: LastGood | None) -> tuple[Config, InvalidConfigError | None]:
    """Return the file's configuration, or the last good one and the error in the file."""
    from edge_agent.config.loader import load
    from edge_agent.config.problem import InvalidConfigError, defect

    try:
        return load(file), None
    except InvalidConfigError as error:
        refused = error
    except Exception as error:
        log.say_defect(
            logging.getLogger(__name__), "reading the configuration has failed unexpectedly", error
        )
        refused = defect(str(file))
    copy = last_good.load() if last_good else None
    if copy is None:
        raise refused
    return copy, refused


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return number

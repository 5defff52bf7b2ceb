"""Find what would stop or slow the agent on this board, and say what to do about it.

Looks at the CPU, the libraries, heat and power, memory, disk and clock; with a configuration (given, or the
installed one) also at the model that the agent runs (where one came over MQTT, that one), the camera and the
broker. Exit code 1 when something would stop the agent.

  edge-agent doctor
  edge-agent doctor --config /etc/edge-agent/edge-agent.yaml --json
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import EXIT_FAILURE, EXIT_OK, ConfigError, ModelError
from edge_agent.system import paths
from edge_agent.system.paths import SYSTEM_CONFIG
from edge_agent.system.text import plain_json

if TYPE_CHECKING:
    from edge_agent.config.schema import Config
    from edge_agent.system.clock import Clock
    from edge_agent.tools.doctor.check import Check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--config", metavar="FILE", type=Path, help=f"the configuration (default: {SYSTEM_CONFIG})")
    add("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Examine, print, and return 1 when a check failed."""
    from edge_agent.tools.doctor.check import text

    given = args.config or (SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None)
    checks = tuple(examine(given, os.environ))
    if args.json:
        print(json.dumps(plain_json([asdict(check) for check in checks]), indent=2))
    else:
        print(text(checks))
    return EXIT_FAILURE if any(check.verdict == "fail" for check in checks) else EXIT_OK


def examine(config_file: Path | None, environment: Mapping[str, str]) -> Iterator[Check]:
    """Run every check that can be run; a broken configuration is a finding, too."""
    from edge_agent.config.loader import load
    from edge_agent.config.schema import Config
    from edge_agent.inference.host import read_host
    from edge_agent.system.board import Board
    from edge_agent.system.clock import SystemClock
    from edge_agent.tools.doctor import board_checks
    from edge_agent.tools.doctor.check import fail, ok

    config, clock = Config(), SystemClock()
    finding = ok("configuration", "none given: model, camera and broker are not checked")
    if config_file is not None:
        try:
            config = load(config_file)
            finding = ok("configuration", str(config_file))
        except ConfigError as error:
            finding = fail("configuration", str(config_file), str(error))
    state_dir = paths.state_dir(environment)
    yield from board_checks.all_checks(Board(), read_host(), config.memory, state_dir, clock)
    yield finding
    if config_file is not None and finding.verdict == "ok":
        yield from _setup(config, clock, environment)


def _model(config: Config, environment: Mapping[str, str]) -> Iterator[Check]:
    """The model that the agent runs, and the one that it would go back to."""
    from edge_agent.install.in_use import model_in_use
    from edge_agent.model.sidecar import read_sidecar
    from edge_agent.tools.doctor import setup_checks
    from edge_agent.tools.doctor.check import warn

    configured = in_use = config.model.path
    try:
        in_use = model_in_use(configured, environment)
    except ModelError as error:
        yield warn("model in use", "not known; model.path is checked", str(error))
    is_configured = in_use == configured
    finding = setup_checks.model(in_use) if is_configured else setup_checks.model_from_elsewhere(in_use)
    yield finding
    if finding.verdict == "ok":
        yield setup_checks.engine(read_sidecar(in_use), config, environment)
    if not is_configured:
        yield setup_checks.model_to_go_back_to(configured)


def _setup(config: Config, clock: Clock, environment: Mapping[str, str]) -> Iterator[Check]:
    from edge_agent.sources.factory import make_source
    from edge_agent.tools.doctor import setup_checks
    from edge_agent.tools.doctor.check import fail

    yield from _model(config, environment)
    try:
        yield from setup_checks.camera(make_source(config.source), config)
    except ConfigError as error:
        yield fail("camera", config.source.type, str(error))
    yield setup_checks.broker(config, clock, environment)

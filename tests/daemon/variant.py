"""Runs the daemon with some of its parts exchanged, for scripts that take the place of `edge-agent`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from edge_agent.commands import run
from edge_agent.config.loader import load
from edge_agent.config.schema import MemoryConfig, SourceConfig
from edge_agent.daemon.agent import run_agent
from edge_agent.memory.budget import BudgetPolicy
from edge_agent.memory.room import Room
from edge_agent.sources import Source
from edge_agent.sources.factory import make_source
from edge_agent.system import log
from edge_agent.system.board import Board
from edge_agent.system.clock import SystemClock


def run_variant(
    *,
    board: Board | None = None,
    make_source: Callable[[SourceConfig, Room], Source] = make_source,
    budget_policy: Callable[[MemoryConfig], BudgetPolicy] = BudgetPolicy.from_config,
) -> int:
    """`edge-agent run` as the command line says, but with these parts; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run"])
    run.add_arguments(parser)
    args = parser.parse_args()
    config = load(args.config)
    log.setup(config.log.level, config.log.format)
    return run_agent(
        args.config,
        config,
        clock=SystemClock(),
        max_frames=args.max_frames,
        board=board,
        make_source=make_source,
        budget_policy=budget_policy,
    )

"""Print every error of a configuration file at once, each with its line.

  edge-agent check-config /etc/edge-agent/edge-agent.yaml
  edge-agent check-config --json edge-agent.yaml
  edge-agent check-config --defaults > edge-agent.yaml

Exit code 2 when there is an error.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_agent.config.loader import load
from edge_agent.config.problem import InvalidConfigError, Problem
from edge_agent.config.render import commented_yaml, masked
from edge_agent.config.schema import Config
from edge_agent.errors import EXIT_OK, EXIT_USAGE, UsageError
from edge_agent.system.text import plain_json, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="the configuration to check")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="print a complete configuration file with every default instead",
    )


def run(args: argparse.Namespace) -> int:
    """Check the file, or print the defaults; returns 0 when the file is valid, else 2."""
    if args.defaults:
        print(commented_yaml(Config()), end="")
        return EXIT_OK
    if args.file is None:
        raise UsageError("name the configuration file to check")
    return _check(args.file, as_json=args.json)


def _check(file: Path, *, as_json: bool) -> int:
    try:
        config = load(file)
    except InvalidConfigError as error:
        print(_report(file, error.problems, None) if as_json else _listing(error))
        return EXIT_USAGE
    print(_report(file, (), config) if as_json else f"{printable(file)}: no problems found")
    return EXIT_OK


def _listing(error: InvalidConfigError) -> str:
    count = len(error.problems)
    return f"{error.details}\n{count} problem{'s' if count > 1 else ''} found"


def _report(file: Path, problems: tuple[Problem, ...], config: Config | None) -> str:
    """`config` is the effective one with its secrets masked; null where the file cannot be used."""
    report = {
        "file": str(file),
        "ok": config is not None,
        "problems": [
            {
                "line": problem.line,
                "column": problem.column,
                "key": problem.key,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in problems
        ],
        "config": masked(config) if config else None,
    }
    return json.dumps(plain_json(report), indent=2)

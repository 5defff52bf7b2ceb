"""Look after many devices: change groups of them in waves.

  edge-agent fleet key fleet.pem

`edge-agent fleet ACTION --help` describes each action. They need the extra `fleet`, and never run on a board.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

from edge_agent.errors import EXIT_OK

_KEY = """Make the key pair of a fleet. The private key signs what devices are to have: keep it, and a copy of
it, where nobody else can read it. The public one, which is printed, is the devices' `fleet.public_key`.

  edge-agent fleet key fleet.pem
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_key(_action(actions, "key", "make the key pair that signs changes", _KEY))


def run(args: argparse.Namespace) -> int:
    """Carry out the action; returns its exit code."""
    return int(args.act(args))


def _action(actions: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    added = actions.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return cast(argparse.ArgumentParser, added)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the private key to make; it must not exist")
    parser.set_defaults(act=_key)


def _key(args: argparse.Namespace) -> int:
    from edge_agent.tools.fleet.key import make_key

    public = make_key(args.file)
    print(f"{args.file} is the private key: keep it, and a copy of it, where nobody else can read it")
    print("for the configuration of each device:")
    print(f"fleet:\n  groups: [all]\n  public_key: {public}")
    return EXIT_OK

"""Make the token that the owner's page asks for, where it is reached from another machine.

  sudo edge-agent web token
  edge-agent web token --state-dir ./state

It is shown this once, and kept as its hash. Another one takes its place at once; who has logged in stays so
until the agent is restarted.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edge_agent.errors import EXIT_OK, EdgeAgentError
from edge_agent.system import paths
from edge_agent.system.privileges import become_owner_of
from edge_agent.system.text import printable
from edge_agent.web.token_file import TokenFile

_SERVICE_STATE = Path("/var/lib/edge-agent")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    token = actions.add_parser("token", help="make another token, and print it")
    token.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        help="where the agent keeps its state (default: the service's, else your own)",
    )


def run(args: argparse.Namespace) -> int:
    """Make and print a token. Raises EdgeAgentError where it cannot be kept."""
    state_dir = args.state_dir or _state_dir()
    become_owner_of(state_dir)
    try:
        token = TokenFile(state_dir).make()
    except OSError as error:
        raise EdgeAgentError(f"{printable(state_dir)}: {error.strerror}; is sudo needed?") from error
    print(token)
    return EXIT_OK


def _state_dir() -> Path:
    """The service's, where it is installed; else that of an agent which this user runs."""
    is_service = "STATE_DIRECTORY" not in os.environ and _SERVICE_STATE.is_dir()
    return _SERVICE_STATE if is_service else paths.state_dir(os.environ)

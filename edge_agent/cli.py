"""The `edge-agent` command: loads the one subcommand that was asked for and turns errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from edge_agent import __version__
from edge_agent.errors import EXIT_FAILURE, EdgeAgentError

_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class CommandModule(Protocol):
    """The interface of each module of `edge_agent.commands`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its name, and the line that `edge-agent --help` shows for it."""

    name: str
    help: str

    def load(self) -> CommandModule:
        """Import the module that runs it."""
        module = importlib.import_module(f"edge_agent.commands.{self.name.replace('-', '_')}")
        return cast(CommandModule, module)


COMMANDS = (
    Command("run", "run the agent in the foreground"),
    Command("demo", "show the whole path at work, with bundled pictures and no hardware"),
    Command("model", "build, inspect or verify a model"),
    Command("classify", "print the top labels of pictures"),
    Command("calibrate", "measure which engine and precision suit this CPU, and keep the evidence"),
    Command("bench", "measure memory and speed: the comparison table"),
    Command("check-config", "print every error of a configuration file"),
    Command("doctor", "find what would stop or slow the agent on this board"),
    Command("first-label", "wait for the running service's next label"),
    Command("ha", "remove the device from Home Assistant"),
)


def parser_for(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser in which only the subcommand named in `argv` is filled in.

    The others are listed with their help line alone: the daemon must not spend memory on commands that it
    does not run.
    """
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Classifies camera frames and publishes the labels over MQTT, inside a memory budget.",
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in argv if not word.startswith("-")), "")
    for command in COMMANDS:
        described = subparsers.add_parser(
            command.name, help=command.help, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if command.name == wanted:
            module = command.load()
            described.description = (module.__doc__ or command.help).strip()
            module.add_arguments(described)
            described.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the process's exit code (see `edge_agent.errors`)."""
    words = sys.argv[1:] if argv is None else argv
    args = parser_for(words).parse_args(words)
    try:
        return int(args.run(args))
    except EdgeAgentError as error:
        print(f"edge-agent {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; a flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE

"""The `edge-agent` command: loads the one subcommand that was asked for and turns errors into exit codes."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from typing import Any, NoReturn, Protocol, TextIO, cast

from edge_agent import __version__
from edge_agent.errors import EXIT_FAILURE, ConfigError, EdgeAgentError
from edge_agent.lean_dataclass import dataclass
from edge_agent.system.text import EscapedStream, printable

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
    Command("teach", "teach it labels of your own, by pictures"),
    Command("collect", "collect pictures for training from the configured camera"),
    Command("dataset", "check a set of labelled pictures before a network is trained on it"),
    Command("train", "train a whole network on labelled pictures, and make a model of it"),
    Command("calibrate", "measure which engine and precision suit this CPU, and keep the evidence"),
    Command("bench", "measure memory and speed: the comparison table"),
    Command("check-config", "print every error of a configuration file"),
    Command("doctor", "find what would stop or slow the agent on this board"),
    Command("first-label", "wait for the running service's next label"),
    Command("web", "make the token of the owner's page"),
    Command("fleet", "look after many devices: changes in waves, signed"),
    Command("ha", "remove the device from Home Assistant"),
)


class _Parser(argparse.ArgumentParser):
    """Its own keeps silent where help cannot be written, and repeats arguments as they are."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        print(message, end="", file=file or sys.stderr)


def parser_for(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser in which only the subcommand named in `argv` is filled in.

    The others are listed with their help line alone: the daemon must not spend memory on commands that it
    does not run.
    """
    parser = _Parser(
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
    with ExitStack() as stack:
        # Standard output and error are None where the caller closed them.
        if sys.stdout is not None:
            stack.enter_context(redirect_stdout(cast(TextIO, EscapedStream(sys.stdout))))
        if sys.stderr is not None:
            stack.enter_context(redirect_stderr(cast(TextIO, EscapedStream(sys.stderr))))
        return _guarded(words)


def _guarded(words: Sequence[str]) -> int:
    try:
        try:
            return _run(words)
        finally:
            _flush()
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        pass  # the reader of our output (`| head`) has gone
    except Exception as error:
        reason = str(error) if isinstance(error, EdgeAgentError) else _shortage(error)
        if not reason:
            sys.excepthook(type(error), error, error.__traceback__)
            return EXIT_FAILURE
        print(f"edge-agent: {reason}", file=sys.stderr)
    _drop_output()
    return EXIT_FAILURE


def _run(words: Sequence[str]) -> int:
    args = parser_for(words).parse_args(words)
    try:
        return int(args.run(args))
    except EdgeAgentError as error:
        # Only what is wrong with a configuration takes more than one line.
        reason = str(error) if isinstance(error, ConfigError) else printable(str(error))
        print(f"edge-agent {args.command}: {reason}", file=sys.stderr)
        return error.exit_code


def _flush() -> None:
    """Write what `print` holds back, while a failure can still decide the exit code."""
    try:
        if sys.stdout is not None:  # it is None where the caller closed it
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EdgeAgentError(str(error.strerror)) from error


def _drop_output() -> None:
    """Send the rest of standard output nowhere: the interpreter's own flush at the exit would fail again."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shortage(error: Exception) -> str:
    """What the machine has too little of, where that is what `error` says; otherwise empty."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    no_memory = (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, ImportError) and "failed to map segment" in str(error))
    )
    if no_memory:
        return "there is too little memory; see `ulimit -v`, `free -m` and the limits of the service"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "no thread can be started; see `ulimit -u`, `ulimit -v` and the limits of the service"
    return ""

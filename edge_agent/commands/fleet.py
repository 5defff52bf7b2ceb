"""Look after many devices: one view of them, and changes to groups of them in waves.

  edge-agent fleet watch --server nats://nats1.example --server nats://nats2.example
  edge-agent fleet key fleet.pem

`edge-agent fleet ACTION --help` describes each action. They need the extra `fleet`, and never run on a board.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

from edge_agent.errors import EXIT_OK, UsageError

_KEY = """Make the key pair of a fleet. The private key signs what devices are to have: keep it, and a copy of
it, where nobody else can read it. The public one, which is printed, is the devices' `fleet.public_key`.

  edge-agent fleet key fleet.pem
"""


_WATCH = """Follow all devices through NATS JetStream, and show them: on a page with filter and sort (/), as
JSON (/api/v1/devices), and as metrics for Prometheus (/metrics). Several instances share the work, and each
shows all devices; one that dies loses nothing. Events are kept once each, in order, in the stream
EDGE_AGENT_EVENTS.

  edge-agent fleet watch --server nats://127.0.0.1:4222 --replicas 1
  edge-agent fleet watch --server tls://nats1.example --server tls://nats2.example --ca-file ca.pem \\
      --user watch --password-file watch.password
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_watch(_action(actions, "watch", "show all devices", _WATCH))
    _add_key(_action(actions, "key", "make the key pair that signs changes", _KEY))


def run(args: argparse.Namespace) -> int:
    """Carry out the action; returns its exit code."""
    return int(args.act(args))


def _action(actions: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    added = actions.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return cast(argparse.ArgumentParser, added)


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", action="append", required=True, metavar="URL", help="a node of NATS; repeat it"
    )
    parser.add_argument("--user", help="NATS's user")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="holds that user's password")
    parser.add_argument("--ca-file", metavar="FILE", help="use TLS, with this authority")
    parser.add_argument("--cert-file", metavar="FILE", help="this client's certificate")
    parser.add_argument("--key-file", metavar="FILE", help="the key of that certificate")
    parser.add_argument(
        "--base-topic", default="edge_agent", metavar="TOPIC", help="the devices' mqtt.base_topic"
    )
    parser.add_argument(
        "--replicas", type=int, default=3, choices=(1, 3, 5), help="on so many nodes (default 3)"
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:8385", metavar="HOST:PORT", help="default: 127.0.0.1:8385"
    )
    parser.set_defaults(act=_watch)


def _watch(args: argparse.Namespace) -> int:
    import asyncio
    import contextlib

    from edge_agent.config.address import broker_place
    from edge_agent.tools import to_stderr
    from edge_agent.tools.fleet.backbone import Login
    from edge_agent.tools.fleet.watch import Watch, WatchOptions

    try:
        host, port = broker_place(args.listen)
    except ValueError as error:
        raise UsageError(f"--listen {error}") from error
    password = _secret(args.password_file)
    login = Login(tuple(args.server), args.user, password, args.ca_file, args.cert_file, args.key_file)
    options = WatchOptions(login, args.base_topic, args.replicas, host, port or 8385)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(Watch(options, to_stderr).run())
    except OSError as error:
        raise UsageError(f"--listen {args.listen}: {error.strerror}") from error
    return EXIT_OK


def _secret(path: Path | None) -> str | None:
    """The password in a file. Raises UsageError."""
    try:
        return None if path is None else path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


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

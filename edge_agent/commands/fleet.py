"""Look after many devices: one view of them, and changes to groups of them in waves.

  edge-agent fleet watch --server nats://nats1.example --server nats://nats2.example
  edge-agent fleet key owner.pem
  edge-agent fleet push --config broker.yaml --key owner.pem --group porches --name calmer stabilizer.window=5
  edge-agent fleet merge --output all.head porch.head gate.head

`edge-agent fleet ACTION --help` describes each action. They need the extra `fleet`, and never run on a board.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, cast

from edge_agent.errors import EXIT_FAILURE, EXIT_OK, UsageError

_KEY = """Make the key pair of a fleet. The private key signs what devices are to have: keep it, and a copy of
it, where nobody else can read it. The public one, which is printed, is the devices' `fleet.public_key`.

  edge-agent fleet key owner.pem
"""


_WATCH = """Follow all devices through NATS JetStream, and show them: on a page with filter and sort (/), as
JSON (/api/v1/devices), and as metrics for Prometheus (/metrics). Several instances share the work, and each
shows all devices; one that dies loses nothing. Events are kept once each, in order, in the stream
EDGE_AGENT_EVENTS.

  edge-agent fleet watch --server nats://127.0.0.1:4222 --replicas 1
  edge-agent fleet watch --server tls://nats1.example --server tls://nats2.example --ca-file ca.pem \\
      --user watch --password-file watch.password
"""
_PUSH = """Change settings, heads or the model of a group of devices in waves: one device, a tenth, all.
Each wave is judged by its devices' own health: whether they refuse the change, are gone, have restarted, have
no camera, or know less than before, and than the wave before. A wave that is worse ends the push: every
device gets back what it had, and the exit code is 1. Devices take nothing that --key has not signed. A model
is fetched by each device from an HTTPS server of yours, and tried there before the wave is judged.

  edge-agent fleet push --config broker.yaml --key owner.pem --group porches --name calmer stabilizer.window=5
  edge-agent fleet push --config broker.yaml --key owner.pem --group porches --dry-run --name x source.fps=0.5
  edge-agent fleet push --config broker.yaml --key owner.pem --group porches --name lite0 \
      --model https://models.example/lite0.tar --model-file lite0.tar
  edge-agent fleet push --config broker.yaml --key owner.pem --group porches --resume
  edge-agent fleet push --config broker.yaml --key owner.pem --group porches --take-back

--config is a file like an agent's; what counts in it is its section mqtt. What is wanted of each group, and
how far a push has come, is kept in --state: keep that folder, and send all pushes from it. audit.jsonl in it
says what was done and when.
"""
_MERGE = """Add up heads that were taught on cameras which watch the same thing: exactly, without any picture.

  edge-agent fleet merge --output all.head porch.head gate.head
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_watch(_action(actions, "watch", "show all devices", _WATCH))
    _add_push(_action(actions, "push", "change a group of devices, in waves", _PUSH))
    _add_merge(_action(actions, "merge", "add up heads of several cameras", _MERGE))
    _add_key(_action(actions, "key", "make the key pair that signs changes", _KEY))


def run(args: argparse.Namespace) -> int:
    """Carry out the action; returns its exit code."""
    try:
        return int(args.act(args))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("nats", "cryptography"):
            raise
        raise UsageError(f"{error.name} is not installed: `pip install 'edge-agent[fleet]'`") from None


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


def _add_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings, with values as JSON")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="how the broker is reached"
    )
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key")
    parser.add_argument("--group", required=True, help="one of the devices' fleet.groups")
    parser.add_argument("--name", help="what this change is called: letters, digits, _, . and -")
    parser.add_argument("--state", type=Path, default=Path("fleet"), metavar="DIR", help="default: ./fleet")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="REGION=FILE",
        help="a head; frame is the whole picture",
    )
    parser.add_argument("--model", metavar="URL", help="where devices fetch a model from, over HTTPS")
    parser.add_argument(
        "--model-file",
        type=Path,
        metavar="FILE",
        help="the same bundle here, made by `edge-agent model bundle`: its size and SHA-256 pin it",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--dry-run", action="store_true", help="say which devices would be changed, and do nothing"
    )
    how.add_argument("--resume", action="store_true", help="go on with a push that was interrupted")
    how.add_argument("--take-back", action="store_true", help="give back what the devices had before it")
    parser.add_argument(
        "--watch-s", type=float, default=180.0, metavar="S", help="watch a wave so long (180)"
    )
    parser.add_argument(
        "--take-s", type=float, metavar="S", help="wait so long for it (180; with a model, 3600)"
    )
    parser.set_defaults(act=_push)


def _push(args: argparse.Namespace) -> int:
    import time
    from contextlib import closing
    from dataclasses import replace

    from edge_agent.config.loader import load
    from edge_agent.system.clock import SystemClock
    from edge_agent.tools import to_stderr
    from edge_agent.tools.fleet.field import Field
    from edge_agent.tools.fleet.key import load_key
    from edge_agent.tools.fleet.push import Ledger, Pace, Push, read_heads, read_model, read_settings

    settings, heads = read_settings(args.settings), read_heads(args.head)
    model = read_model(args.model, args.model_file)
    is_new = not (args.resume or args.take_back)
    if is_new and not ((settings or heads or model) and re.fullmatch(r"[\w.-]{1,64}", args.name or "", re.A)):
        raise UsageError("give --name, of letters, digits, _, . and -, and a KEY=VALUE, --head or --model")
    key, config, clock = load_key(args.key), load(args.config).mqtt, SystemClock()
    args.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(Field(config, clock, time.sleep)) as field:
        ledger = Ledger(args.state, args.group, clock)
        under_way = ledger.load().running
        pace = Pace(watch_s=args.watch_s)
        if args.take_s is not None:
            pace = replace(pace, take_s=args.take_s)
        elif model or (under_way and under_way.model):
            pace = pace.with_model()
        push = Push(field, ledger, config.base_topic, args.group, key.sign, clock, to_stderr, pace)
        if args.take_back:
            push.take_back(["asked for on the command line"])
            return EXIT_OK
        if not args.resume:
            running = push.plan(args.name, settings, heads, model)
            for number, names in enumerate(running.waves, 1):
                to_stderr(f"wave {number}: {len(names)} devices: {', '.join(names[:10])}")
            if args.dry_run:
                return EXIT_OK
            push.begin(running)
        return EXIT_OK if push.go_on() else EXIT_FAILURE


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("heads", nargs="+", type=Path, metavar="HEAD", help="a head file of a camera")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the head that is made")
    parser.set_defaults(act=_merge)


def _merge(args: argparse.Namespace) -> int:
    from edge_agent.teach import head_file
    from edge_agent.teach.merge import merge

    if args.output.exists():
        raise UsageError(f"{args.output} is there already: a head is not written over another")
    joined = merge([head_file.load(path) for path in args.heads])
    head_file.save(args.output, joined)
    print(f"{args.output}: {len(joined.labels)} labels of {len(args.heads)} heads")
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

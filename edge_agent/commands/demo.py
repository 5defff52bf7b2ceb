"""Show the whole path at work without hardware: bundled pictures, the real agent, a real MQTT subscriber.

  edge-agent demo                             with its own broker on a free loopback port
  edge-agent demo --broker broker.local:1883  with yours (EDGE_AGENT_DEMO_PASSWORD holds the password)
  edge-agent demo --pictures ~/holidays       with your pictures

The first run builds the model: ResNet-18 where torchvision's weights can be downloaded, else
EfficientNet-Lite0, whose weights come as a package. Exit code 0 when every picture was answered.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.config.address import host_with_port
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, UsageError
from edge_agent.model.sidecar import Artifact, read_sidecar
from edge_agent.sources.picture_files import pictures_in
from edge_agent.system.paths import demo_model_dir
from edge_agent.system.text import printable
from edge_agent.tools.demo.beside_torch import comparison
from edge_agent.tools.demo.broker import embedded_broker
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES, PICTURES_DIR
from edge_agent.tools.demo.demo_model import ensure_model
from edge_agent.tools.demo.play import Broker, DemoOutcome, play, topics

_PASSWORD_VARIABLE = "EDGE_AGENT_DEMO_PASSWORD"
_MQTT_PORT = 1883


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--broker", metavar="HOST[:PORT]", help="publish to this broker (default: the demo's own)"
    )
    parser.add_argument("--username", default="", help="for that broker")
    parser.add_argument("--model", metavar="DIR", type=Path, help="use this model instead of building one")
    parser.add_argument("--rebuild", action="store_true", help="build the model again")
    parser.add_argument(
        "--pictures", metavar="DIR", type=Path, default=PICTURES_DIR, help="show these pictures"
    )


def run(args: argparse.Namespace) -> int:
    names = _names(args.pictures)
    artifact = _model(args)
    with _broker(args) as broker:
        print(f"broker  mqtt://{host_with_port(broker.host, broker.port)}")
        print(
            f"        watch along: mosquitto_sub -h {broker.host} -p {broker.port} -t '{topics().root}/#' -v"
        )
        print(f"\n  {'picture':<20} {'label':<20} {'score':>6} {'inference':>10}")
        outcome = play(artifact.directory, args.pictures.absolute(), names, broker, sys.stdout)
    return _conclude(outcome, names, bundled=args.pictures == PICTURES_DIR)


def _names(folder: Path) -> list[str]:
    """The pictures, in the order in which the folder source plays them."""
    if not folder.is_dir():
        raise UsageError(f"--pictures: {folder} is no folder")
    names = [printable(path.name) for path in pictures_in(folder)]
    if not names:
        raise UsageError(f"--pictures: {folder} has no JPEG, PNG, WebP or BMP pictures")
    return names


def _model(args: argparse.Namespace) -> Artifact:
    if args.model is not None:
        return read_sidecar(args.model)
    return ensure_model(
        demo_model_dir(os.environ), lambda line: print(f"model   {line}", flush=True), rebuild=args.rebuild
    )


@contextmanager
def _broker(args: argparse.Namespace) -> Iterator[Broker]:
    if args.broker is None:
        with embedded_broker() as port:
            yield Broker("127.0.0.1", port, protocol="3.1.1")
        return
    host, _, port = args.broker.partition(":")
    if port and not port.isdecimal():
        raise UsageError(f"--broker: {args.broker!r} is not HOST or HOST:PORT")
    password = os.environ.get(_PASSWORD_VARIABLE, "")
    yield Broker(host, int(port) if port else _MQTT_PORT, args.username, password)


def _conclude(outcome: DemoOutcome, names: list[str], *, bundled: bool) -> int:
    answered = {answer.picture for answer in outcome.answers}
    print(
        f"\n{len(answered)} of {len(names)} pictures were answered over MQTT, by {outcome.engine or 'nobody'}"
    )
    if bundled:
        right = {picture.name: picture.labels for picture in BUNDLED_PICTURES}
        correct = sum(answer.label in right.get(answer.picture, ()) for answer in outcome.answers)
        print(f"{correct} of {len(names)} labels are right")
    if outcome.rss_mb is not None:
        print("", *comparison(outcome.rss_mb, outcome.engine), sep="\n")
    complete = outcome.exit_code == EXIT_OK and answered == set(names) and outcome.said_goodbye
    return EXIT_OK if complete else EXIT_FAILURE

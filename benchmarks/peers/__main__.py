"""The agent's engines beside other inference libraries: same weights, same picture, rounds that take turns.

  pip install -e '.[torch,peers,bench]'
  python -m benchmarks.peers [--networks resnet18,...] [--threads 2,1] [--only native,ONNX] [--json FILE]

Converts each network for each library first, once (--work keeps the files). Each contestant is a process of
its own that imports only what it needs. At real-time priority (`chrt -f 50 python -m benchmarks.peers`) other
processes do not disturb it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.contestants import CONTESTANTS, OWN, Contestant
from benchmarks.peers.convert import CONVERTERS, LOGITS
from benchmarks.peers.limits import gflops
from benchmarks.peers.match import Absent, Row, play
from benchmarks.peers.report import markdown, svg, to_json
from edge_agent.system import paths

NETWORKS = ("resnet18", "mobilenet_v3_large", "efficientnet_lite0", "resnet50")


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    chosen = [
        c for c in CONTESTANTS if any(c.name.lower().startswith(o.lower()) for o in args.only.split(","))
    ]
    if not chosen:
        sys.exit(f"no contestant begins with {args.only}; there are {', '.join(c.name for c in CONTESTANTS)}")
    limit = gflops()
    rows: list[Row] = []
    absent: list[Absent] = []
    for network in args.networks.split(","):
        directory = args.work / network
        _prepare(network, directory, chosen)
        for threads in map(int, args.threads.split(",")):
            found, missing = play(
                network,
                directory,
                chosen,
                threads,
                rounds=args.rounds,
                pictures=args.pictures,
                busy=args.busy,
                report=_report,
            )
            rows += found
            absent += missing
    print(markdown(rows, absent, limit))
    if args.json:
        args.json.write_text(to_json(rows, absent, limit), encoding="utf-8")
    if args.svg and rows:
        args.svg.write_text(svg(rows), encoding="utf-8")
    return 0


def _prepare(network: str, directory: Path, chosen: Sequence[Contestant]) -> None:
    """Make the files that are not there yet; a library without its file says so when it is started."""
    if not (directory / LOGITS).exists() and not _convert("network", network, str(directory)):
        sys.exit(f"{network} cannot be made: it needs torch, and torchvision or efficientnet-lite-pytorch")
    for contestant in chosen:
        is_there = contestant.library == OWN or (directory / contestant.file).exists()
        if not is_there and contestant.library in CONVERTERS and not contestant.missing(directory):
            _convert(contestant.library, str(directory))


def _convert(*arguments: str) -> bool:
    _report(f"converting: {' '.join(arguments)}")
    command = [sys.executable, "-m", "benchmarks.peers.convert", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        _report((done.stderr.strip().splitlines() or ["no message"])[-1][:300])
    return done.returncode == 0


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--networks", metavar="NAMES", default=",".join(NETWORKS), help=f"(default: {','.join(NETWORKS)})")
    add("--threads", metavar="NUMBERS", default="2,1", help="(default: 2,1)")
    add("--only", metavar="NAMES", default="", help="contestants whose names begin so (default: all)")
    add("--rounds", metavar="N", type=int, default=7, help="(default: 7)")
    add("--pictures", metavar="N", type=int, default=10, help="a round (default: 10)")
    add("--busy", action="store_true", help="with a process on each core that does nothing but burn")
    work = paths.cache_dir(os.environ) / "peers"
    add("--work", metavar="DIR", type=Path, default=work, help=f"for converted networks (default: {work})")
    add("--json", metavar="FILE", type=Path, help="write all figures as JSON")
    add("--svg", metavar="FILE", type=Path, help="write a chart")
    return parser


if __name__ == "__main__":
    sys.exit(main())

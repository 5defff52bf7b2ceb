"""Collect pictures for training from the configured camera, a label at a time.

  edge-agent collect --label open --every 5s --output DATA/
  edge-agent collect --label closed --every 1m --for 12h --max-mb 200 --output DATA/
  edge-agent collect --label cat --region door --count 50 --output DATA/

Point the camera at what the label means, and let it run; Ctrl-C ends it, and nothing is lost. It works while
no agent uses the camera. The pictures are as the agent sees them: turned, and of the region alone.

Privacy: these are pictures of whatever passes the camera, people included. They stay in DATA, on this
machine, and nothing sends them anywhere. Tell whoever may be seen, take a region instead of the whole picture
where it will do, and delete DATA when the network has been trained. The law may ask for more.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import threading
from contextlib import closing
from pathlib import Path

from edge_agent.errors import EXIT_OK, SourceError, UsageError
from edge_agent.system.clock import SystemClock
from edge_agent.system.paths import SYSTEM_CONFIG
from edge_agent.system.privileges import become_owner_of
from edge_agent.system.text import plain_json, printable
from edge_agent.tools import to_stderr

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--label", metavar="NAME", required=True, help="what is seen; a folder of this name gets the pictures"
    )
    add("--output", metavar="DATA", type=Path, required=True, help="the set, which may have pictures already")
    add(
        "--every",
        metavar="TIME",
        type=span_s,
        default=5.0,
        help="one picture in so long: 5s, 1m (default: 5s)",
    )
    add("--region", metavar="NAME", default="", help="of the configuration; `frame` for the whole picture")
    add("--for", metavar="TIME", type=span_s, dest="for_s", help="end after so long: 30m, 12h")
    add("--count", metavar="N", type=int, help="end after so many pictures")
    add(
        "--max-mb", metavar="N", type=int, default=500, help="the whole set is to be no larger (default: 500)"
    )
    add(
        "--keep-free-mb",
        metavar="N",
        type=int,
        default=500,
        help="end before the disk has less free than this (default: 500)",
    )
    add(
        "--alike",
        metavar="X",
        type=float,
        help="leave a picture out that has at least this cosine with one that was kept, by what the network"
        " makes of both (default: 0.98, which a scene that stands still has); 2 keeps all",
    )
    add("--config", metavar="FILE", type=Path, help=f"the configuration (default: {SYSTEM_CONFIG})")
    add("--json", action="store_true", help="print JSON")


def span_s(text: str) -> float:
    """The seconds in `5`, `5s`, `1.5m`, `12h` or `2d`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{printable(text, 40)!r} is no time; write 5s, 1m, 12h or 2d")
    return float(found[1]) * _UNITS_S[found[2] or "s"]


def run(args: argparse.Namespace) -> int:
    """Collect until a limit, a signal or the source ends it. Raises EdgeAgentError."""
    from edge_agent.config.loader import load_given
    from edge_agent.sources.factory import make_source
    from edge_agent.tools.progress_line import ProgressLine
    from edge_agent.tools.train.collect import (
        Album,
        Limits,
        checked_label,
        collect,
        explained,
        frames_of,
        open_eye,
        region_of,
    )
    from edge_agent.tools.train.likeness import Newness

    _check(args)
    checked_label(args.label)
    config = load_given(args.config)
    region = region_of(config, args.region)
    source = make_source(config.source)
    if line := become_owner_of(args.output):
        to_stderr(line)
    clock = SystemClock()
    limits = Limits(args.max_mb << 20, args.keep_free_mb << 20, args.count, args.for_s)
    album = Album(args.output, args.label, limits, clock)
    eye = open_eye(config, os.environ)
    if eye.remark:
        to_stderr(eye.remark)
    newness = Newness(eye.alike if args.alike is None else args.alike)
    progress = ProgressLine(sys.stderr)
    stopped = threading.Event()
    before = [
        (each, signal.signal(each, lambda *_: stopped.set())) for each in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        with closing(eye), frames_of(source, config, region, args.every) as frames:
            found = collect(
                frames, album, eye.feature_of, newness, limits, clock, progress.show, stopped.is_set
            )
    except SourceError as error:
        raise explained(error, config, os.environ) from error
    finally:
        progress.clear()
        for number, handler in before:
            signal.signal(number, handler)
    if args.json:
        document = {"label": args.label, "kept": found.kept, "alike": found.alike, "ended": found.ended}
        print(json.dumps(plain_json(document), indent=2))
    else:
        where = printable(args.output / args.label)
        print(
            f"{where}: {found.kept} pictures kept, {found.alike} left out as nearly the same: {found.ended}"
        )
    return EXIT_OK


def _check(args: argparse.Namespace) -> None:
    if args.count is not None and args.count < 1:
        raise UsageError("--count: at least 1 is needed")
    if args.max_mb < 1 or args.keep_free_mb < 0:
        raise UsageError("--max-mb must be at least 1, --keep-free-mb at least 0")
    if args.alike is not None and not args.alike > 0:
        raise UsageError("--alike: a cosine above 0 is needed; 2 keeps all")

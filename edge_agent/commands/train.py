"""Train a whole network on labelled pictures, and make a model of it.

  edge-agent train DATA/ --output ./gate
  edge-agent train DATA/ --arch resnet18 --weights resnet18-f37072fd.pth --checkpoint blocks --output ./gate
  edge-agent train DATA/ --arch efficientnet_lite0 --scope head --epochs 5 --output ./gate
  edge-agent train DATA/ --weights ./gate --output ./better-gate
  torchrun --nproc-per-node 2 -m edge_agent train DATA/ --output ./gate

It works in a folder beside the model, from which the same command goes on where it was stopped or killed.
Exit code 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.commands.dataset import add_burst_arguments, check_bursts
from edge_agent.errors import EXIT_OK, UsageError
from edge_agent.system.privileges import become_owner_of
from edge_agent.system.text import plain_json, printable
from edge_agent.tools import to_stderr
from edge_agent.tools.progress_line import ProgressLine

if TYPE_CHECKING:
    from edge_agent.tools.train.train import Result

_EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("directory", metavar="DATA", type=Path, help="the set; see `edge-agent dataset`")
    add("--output", metavar="DIR", type=Path, required=True, help="the model directory")
    add("--arch", default="", help="a classifier of torchvision, or efficientnet_lite0 (default: resnet18)")
    add(
        "--weights",
        metavar="START",
        default="own",
        help="to begin with: a file, a model directory, or `none` (default: ImageNet's)",
    )
    add("--scope", choices=("head", "last", "all"), default="all", help="what learns (default: all)")
    add("--size", metavar="N", type=int, help="side of the square that the network takes (its own)")
    add("--epochs", metavar="N", type=int, default=20, help="at most (default: 20)")
    add("--batch", metavar="N", type=int, default=32, help="pictures a step, of all workers (default: 32)")
    add(
        "--accumulate",
        metavar="N",
        type=int,
        default=1,
        help="a step's pictures in N parts (default: 1)",
    )
    add("--rate", metavar="X", type=float, default=0.02, help="how far a step goes (default: 0.02)")
    add("--checkpoint", choices=("none", "stages", "blocks"), default="none", help="compute again, keep less")
    add("--memory-budget", metavar="MB", type=float, help="most resident memory; chooses the two above")
    add("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of the arithmetic (fp32)")
    add("--ema", action="store_true", help="keep the mean of an epoch's weights, not the last step's")
    add("--seed", metavar="N", type=int, default=0, help="of everything by chance (default: 0)")
    add_burst_arguments(parser)
    add("--json", action="store_true", help="print the judgement as JSON")


def run(args: argparse.Namespace) -> int:
    _check(args)
    from edge_agent.tools.builder.eager import require_torch

    require_torch()
    from edge_agent.tools.train.loop import InterruptedTrainingError, Recipe
    from edge_agent.tools.train.network import arch_of
    from edge_agent.tools.train.train import Wanted, train
    from edge_agent.tools.train.workers import joined

    if line := become_owner_of(args.output):
        to_stderr(line)
    recipe = Recipe(
        arch=arch_of(args.arch, args.weights),
        start=args.weights,
        scope=args.scope,
        epochs=args.epochs,
        batch=args.batch,
        accumulate=args.accumulate,
        rate=args.rate,
        average=args.ema,
        checkpoint=args.checkpoint,
        precision=args.precision,
        seed=args.seed,
    )
    wanted = Wanted(
        args.directory, args.output, recipe, args.size, args.burst_gap, args.longest_burst, args.memory_budget
    )
    progress = ProgressLine(sys.stderr)
    stopped: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: stopped.append(number))
    try:
        with joined(os.environ) as workers:
            says = (progress.say, progress.show) if workers.is_writer else (_silent, _silent)
            result = train(wanted, says[0], lambda: bool(stopped), says[1], workers)
    except InterruptedTrainingError as error:
        progress.say(str(error))
        return _EXIT_INTERRUPTED
    finally:
        progress.clear()
        signal.signal(signal.SIGINT, before)
    if result is None:  # another worker says it
        return EXIT_OK
    if args.json:
        print(json.dumps(plain_json(asdict(result)), indent=2))
    else:
        _show(result)
    return EXIT_OK


def _silent(_line: str) -> None:
    """For all workers but one."""


def _check(args: argparse.Namespace) -> None:
    if args.precision == "fp16":
        raise UsageError(
            "--precision fp16: a CPU does not train in FP16: small gradients become 0 in it, and its kernels"
            " compute in FP32 all the same; bf16 takes as little memory and has the range of FP32"
        )
    if min(args.epochs, args.batch, args.accumulate) < 1 or args.seed < 0:
        raise UsageError("--epochs, --batch and --accumulate must be at least 1, --seed at least 0")
    if args.memory_budget is not None and not 1 <= args.memory_budget < 1e9:
        raise UsageError("--memory-budget must be a number of MB")
    check_bursts(args)
    if not 0 < args.rate <= 10:
        raise UsageError("--rate must be above 0, and 10 at most")


def _show(result: Result) -> None:
    from edge_agent.tools.train.report import unknown

    judged = result.judgement
    print(
        f"{judged.accuracy:.1%} right ({judged.low:.1%} to {judged.high:.1%}) of {judged.pictures} pictures"
        f" of {judged.bursts} bursts that it has never seen"
    )
    print("\nprecision   recall  label: taken for")
    names = [printable(each.label) for each in judged.labels]
    for figures, row in zip(judged.labels, judged.confusion, strict=True):
        taken = ", ".join(f"{name} {count}" for name, count in zip(names, row, strict=True) if count)
        shares = f"{_percent(figures.precision)}  {_percent(figures.recall)}"
        print(f"{shares}  {printable(figures.label)}: {taken}")
    print(f"\n{result.verdict}")
    print(f"\ntemperature {result.temperature:g} (in the model). {unknown(result.threshold)}")
    print(f"\nthe report: {printable(result.report)}")


def _percent(share: float | None) -> str:
    return f"{share:>8.1%}" if share is not None else f"{'-':>8}"

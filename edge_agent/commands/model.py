"""Build, inspect, verify, bundle or install a model.

  edge-agent model build --output ./model
  edge-agent model build --weights resnet18-f37072fd.pth --output ./model
  edge-agent model build resnet18_traced.pt --labels imagenet.txt --output ./model
  edge-agent model build --arch mobilenet_v3_large --weights fruit.pth --labels fruit.txt --output ./fruit
  edge-agent model info ./model
  edge-agent model pack ./model
  edge-agent model verify ./model --images ./pictures
  sudo edge-agent model install ./model
  edge-agent model bundle ./model --output lite0.tar

`edge-agent model ACTION --help` describes each action.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from edge_agent.errors import EXIT_FAILURE, EXIT_OK, ArtifactError, UsageError
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import (
    SIDECAR_NAME,
    Activation,
    Artifact,
    Preprocessing,
    damage,
    is_program,
    read_sidecar,
    role_of,
)
from edge_agent.system.paths import SYSTEM_CONFIG
from edge_agent.system.privileges import become_owner_of
from edge_agent.system.text import plain_json, printable
from edge_agent.tools import to_stderr

if TYPE_CHECKING:
    from edge_agent.tools.builder.verify import VerifyReport

_LONGEST_WATCH_S = 86400.0

_BUILD = """Build a model directory: TorchScript files in FP32 and FP16, plans for the lean engines where the
network can be lowered, and the sidecar model.json. Only networks that no plan can run need torch for it.

  edge-agent model build --output ./model
      ResNet-18 with torchvision's ImageNet weights, downloaded and checked by their hash
  edge-agent model build --weights resnet18-f37072fd.pth --output ./model
      the same without a network: a copy of those weights
  edge-agent model build resnet18_traced.pt --output ./model
      a TorchScript file, which is network and weights in one: traced, scripted, frozen, or half()
  edge-agent model build --arch efficientnet_lite0 --output ./model
      weights that are part of an installed package
  edge-agent model build --arch resnet18 --weights fruit.pth --labels fruit.txt --output ./fruit
      a network trained on classes of your own: its state dict, and one label a line in their order
  edge-agent model build --weights scratch.pth --labels scratch.txt --activation sigmoid --output ./scratch
      a network of one output, trained with BCEWithLogitsLoss, and the label that a high score means
"""
_INFO = """Describe a model, and check its files against their hashes; exit code 1 when one is damaged.

  edge-agent model info ./model
  edge-agent model info --json ./model
"""
_PACK = """Pack a model's weights for the native engine on this machine, beside the model. It is for models
that were built elsewhere: the first start would do it otherwise, beside the model or in the cache directory.

  edge-agent model pack ./model
  edge-agent model pack ./model --precision fp32
"""
_VERIFY = """Compare each engine and precision of a model with its network in eager FP32 on a folder of
pictures: how often the best label is the same, how much the three best overlap, the largest error of a logit
and of a probability. Exit code 1 when the best label agrees on fewer pictures than --min-agreement requires.

  edge-agent model verify ./model --images ./pictures
  edge-agent model verify ./fruit --weights fruit.pth --images ./pictures --json
"""

_INSTALL = """Give the agent of this machine another model. It is checked, copied beside the present one, and
run on pictures with the engine that the agent will choose; then the configuration names it, and the agent
starts with it. It is watched for a while by what it publishes: if it does not start, restarts again, loses
the camera, goes above its memory budget, or says `unknown` more often by 10 points of a hundred, it gets its
old model back. So it does on Ctrl-C, and when the terminal is closed.

  sudo edge-agent model install ./model
  sudo edge-agent model install ./model --canary ./pictures --watch 600
  edge-agent model install ./model --dry-run
      checks and runs it, and changes nothing
  sudo edge-agent model install --back
      the model that was in use before the last installation

Exit code 1 when the model was refused or taken back.
"""


_BUNDLE = """Make one file of a model's plans, without its TorchScript files, which no device runs from
elsewhere. Devices fetch it over HTTPS, from wherever you put it, with the request model/install. What is
printed pins it: size and SHA-256.

  edge-agent model bundle ./model --output lite0.tar
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_build(_action(actions, "build", "make a model directory from weights", _BUILD))
    _add_info(_action(actions, "info", "describe a model, and check its files", _INFO))
    _add_pack(_action(actions, "pack", "pack a model's weights for this machine", _PACK))
    _add_verify(_action(actions, "verify", "compare a model with its network in eager FP32", _VERIFY))
    _add_install(_action(actions, "install", "give a running agent another model", _INSTALL))
    _add_bundle(_action(actions, "bundle", "make one file of a model, for devices to fetch", _BUNDLE))


def run(args: argparse.Namespace) -> int:
    """Run the action; raises the errors that it ends with."""
    action = _ACTIONS[args.action]
    return action(args)


def _action(actions: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    added = actions.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return cast(argparse.ArgumentParser, added)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Path,
        help="a TorchScript file, which is network and weights in one; or the same as --weights FILE",
    )
    parser.add_argument(
        "--arch",
        default="",
        help="a classifier of torchvision (resnet34, mobilenet_v3_large, ...) or efficientnet_lite0"
        " (default: what a TorchScript file holds, else resnet18)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        type=Path,
        help="a state dict or checkpoint written by torch.save, or TorchScript (default: the architecture's"
        " own ImageNet weights)",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        type=Path,
        help="one label a line, or a table or JSON with class numbers from 0 (default: those of ImageNet)",
    )
    parser.add_argument(
        "--activation",
        choices=get_args(Activation),
        help="how scores become probabilities: softmax for classes of which one is right (default), sigmoid"
        " for a network of one output, or where several labels may be right",
    )
    _add_input(parser)
    parser.add_argument("--name", default="", help="the model's name (default: its architecture)")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        required=True,
        help="the model directory; an older model there is replaced once the new one is complete",
    )
    parser.add_argument("--json", action="store_true", help="print the sidecar as JSON at the end")


def _add_input(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "the pictures that the network was trained on (default: as for its ImageNet weights)"
    )
    group.add_argument("--size", metavar="N", type=int, help="side of the square that it takes, in pixels")
    group.add_argument(
        "--resize", metavar="N", type=int, help="what the shorter side is resized to before the cut"
    )
    group.add_argument(
        "--mean", metavar="X", type=float, nargs="+", help="of pixels from 0 to 1: three numbers, or one"
    )
    group.add_argument("--std", metavar="X", type=float, nargs="+", help="the same for the deviation")
    group.add_argument(
        "--squash", action="store_true", help="both sides are resized, so that nothing is cut off"
    )
    group.add_argument("--grey", action="store_true", help="without colours")


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="a model directory")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_pack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="a model directory")
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="fp16", help="of the weights (default: fp16)"
    )


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="a model directory")
    parser.add_argument("--images", metavar="DIR", type=Path, required=True, help="a folder of pictures")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        type=Path,
        help="the state dict that the model was built from (default: the architecture's own)",
    )
    parser.add_argument(
        "--min-agreement",
        metavar="SHARE",
        type=float,
        default=0.99,
        help="the least share of pictures, 0 to 1, with the same best label (default: 0.99)",
    )
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_install(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="a model directory")
    parser.add_argument("--back", action="store_true", help="install the model from before once more")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=SYSTEM_CONFIG,
        help=f"the agent's configuration (default: {SYSTEM_CONFIG})",
    )
    parser.add_argument(
        "--canary",
        metavar="DIR",
        type=Path,
        help="pictures that the model is run on first (default: those that come with the agent)",
    )
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        type=float,
        default=180.0,
        help="how long the agent is watched with it; its `health` comes once a minute (default: 180)",
    )
    parser.add_argument("--dry-run", action="store_true", help="check and run the model, and change nothing")


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="a model directory")
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the bundle to make")
    parser.add_argument("--json", action="store_true", help="print sha256 and bytes as JSON")


def _build(args: argparse.Namespace) -> int:
    from edge_agent.tools.builder.build import BuildOptions, build
    from edge_agent.tools.builder.input_options import InputOptions

    if line := become_owner_of(args.output):
        to_stderr(line)
    if args.file and args.weights:
        raise UsageError(f"two files of weights: leave out --weights, or {printable(args.file)}")
    options = BuildOptions(
        output=args.output,
        arch=args.arch,
        weights=args.file or args.weights,
        labels=args.labels,
        name=args.name,
        activation=args.activation,
        taken=InputOptions(
            size=args.size,
            resize=args.resize,
            mean=args.mean and tuple(args.mean),
            std=args.std and tuple(args.std),
            squash=args.squash,
            grey=args.grey,
        ),
    )
    artifact = build(options, to_stderr)
    if args.json:
        print((artifact.directory / SIDECAR_NAME).read_text(encoding="utf-8"), end="")
    else:
        print(f"{printable(artifact.directory)}: {artifact.sidecar.name}, sha256 {artifact.sidecar.sha256}")
    return EXIT_OK


def _info(args: argparse.Namespace) -> int:
    artifact = read_sidecar(args.directory)
    problems = damage(artifact)
    if args.json:
        taught = {"features": _features(artifact)[0], "not_taught": _features(artifact)[1]}
        document = asdict(artifact.sidecar) | {"damage": problems} | taught
        print(json.dumps(plain_json(document), indent=2))
    else:
        _print_info(artifact)
        for problem in problems:
            print(printable(problem), file=sys.stderr)
    return EXIT_FAILURE if problems else EXIT_OK


def _features(artifact: Artifact) -> tuple[int, str]:
    """How many features a head would be taught on, and why none can be; by the plan, where there is one."""
    from edge_agent.inference.native.engine import read_plan

    precisions: tuple[Precision, ...] = ("fp16", "fp32")
    for precision in precisions:
        if role_of("native", precision) not in artifact.sidecar.files:
            continue
        try:
            plan, _ = read_plan(artifact, precision)
        except ArtifactError:
            return 0, "not known: its plan is damaged"
        features = plan.features
        if features is None:
            return 0, f"no: {plan.why_not_taught}"
        return plan.tensors[features].elements, ""
    return 0, "not known: it has no plan, and only the torchscript engine may find its features"


def _pack(args: argparse.Namespace) -> int:
    from edge_agent.inference.native.engine import pack_model

    if line := become_owner_of(args.directory):
        print(line, file=sys.stderr)
    path = pack_model(read_sidecar(args.directory), args.precision, args.directory)
    print(f"{printable(str(path))}: {path.stat().st_size / 1e6:.1f} MB")
    return EXIT_OK


def _print_info(artifact: Artifact) -> None:
    sidecar, seen = artifact.sidecar, artifact.sidecar.preprocessing
    rows = [
        ("name", sidecar.name),
        ("architecture", sidecar.arch),
        ("weights", f"{sidecar.weights.source}, sha256 {sidecar.weights.sha256}"),
        ("built", sidecar.created),
        ("input", f"{seen.crop} x {seen.crop} pixels, cut from {_resized(seen)} ({seen.interpolation})"),
        ("normalised", f"mean {_numbers(seen.mean)}, std {_numbers(seen.std)}"),
        (
            "labels",
            f"{len(sidecar.labels)}: {', '.join(sidecar.labels[:5])}" + ", ..." * _has_more(sidecar.labels),
        ),
        ("probabilities", f"by {sidecar.activation}"),
        ("sha256", sidecar.sha256),
    ]
    rows += [
        (role, ", ".join(f"{file.name} ({file.bytes / 1e6:.1f} MB)" for file in files))
        for role, files in sorted(sidecar.files.items())
    ]
    if any(map(is_program, sidecar.files)):
        rows.append(("torchscript for", f"torch {sidecar.torch_version} and newer"))
    if sidecar.left_out:
        rows.append(("left out", f"{', '.join(sorted(sidecar.left_out))}: the model came in a bundle"))
    if sidecar.files.keys() & {role_of("native", "fp16"), role_of("native", "fp32")}:
        packed = [
            f"{file.name} ({file.stat().st_size / 1e6:.1f} MB)"
            for file in sorted(artifact.directory.glob("native-*.packed"))
        ]
        rows.append(("packed", ", ".join(packed) or "not yet: the first start or `model pack` does it"))
    features, why_not = _features(artifact)
    rows.append(("can be taught", f"yes, on {features} features" if features else why_not))
    if sidecar.not_lowered:
        rows.append(("no plan", sidecar.not_lowered))
    for label, value in rows:
        print(f"{label:<17} {printable(value)}")


def _resized(seen: Preprocessing) -> str:
    size = f"{seen.resize} x {seen.resize}, squashed" if seen.squash else f"{seen.resize}"
    return f"{size}, grey" if seen.grey else size


def _has_more(labels: tuple[str, ...]) -> bool:
    return len(labels) > 5


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _verify(args: argparse.Namespace) -> int:
    if not 0 <= args.min_agreement <= 1:
        raise UsageError("--min-agreement must be a share from 0 to 1")
    if args.threads < 1:
        raise UsageError("--threads must be at least 1")
    from edge_agent.tools.builder.verify import verify

    if line := become_owner_of(args.directory):
        to_stderr(line)
    artifact = read_sidecar(args.directory)
    report = verify(artifact, args.images, to_stderr, weights=args.weights, threads=args.threads)
    if args.json:
        print(json.dumps(plain_json(asdict(report)), indent=2))
    else:
        _print_agreements(report)
    if report.worst_agreement() < args.min_agreement:
        to_stderr(
            f"agreement of {report.worst_agreement():.2%} is less than the {args.min_agreement:.2%} asked for"
        )
        return EXIT_FAILURE
    return EXIT_OK


def _print_agreements(report: VerifyReport) -> None:
    skipped = f" ({report.pictures_skipped} skipped)" if report.pictures_skipped else ""
    print(f"{report.model} on {report.pictures} pictures{skipped}, compared with {report.reference}\n")
    print("engine       weights  arithmetic     top-1    top-3  logit error      |dp|")
    for found in report.agreements:
        print(
            f"{found.info.engine:<12} {found.info.precision:<8} {found.info.arithmetic:<11}"
            f" {found.top1_agreement:>8.2%} {found.top3_overlap:>8.2%}"
            f" {found.max_logit_error:>12.2e} {found.max_probability_error:>9.1e}"
        )
    for missing in report.not_run:
        print(f"{missing.engine:<12} {missing.precision:<8} not run: {printable(missing.reason)}")


def _install(args: argparse.Namespace) -> int:
    if args.back == bool(args.directory):
        raise UsageError("name a model directory, or --back alone")
    if not 0 <= args.watch <= _LONGEST_WATCH_S:
        raise UsageError(f"--watch must be from 0 to {_LONGEST_WATCH_S:.0f} seconds")
    from edge_agent.system.clock import SystemClock
    from edge_agent.tools.demo.bundled import PICTURES_DIR
    from edge_agent.tools.installer.install import Installer, Options

    options = Options(args.config, args.canary or PICTURES_DIR, args.watch, args.dry_run)
    installer = Installer(options, SystemClock(), time.sleep, os.environ, to_stderr)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if args.back:
        installer.back()
    else:
        installer.install(args.directory)
    return EXIT_OK


def _bundle(args: argparse.Namespace) -> int:
    from edge_agent.tools.installer.bundle import write_bundle

    made = write_bundle(read_sidecar(args.directory), args.output)
    if args.json:
        print(json.dumps({"sha256": made.sha256, "bytes": made.bytes}))
    else:
        print(f"{printable(args.output)}: {made.bytes / 1e6:.1f} MB")
        print("for the request model/install, with its address on your server:")
        print(json.dumps({"url": "https://...", "sha256": made.sha256, "bytes": made.bytes}))
    return EXIT_OK


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "build": _build,
    "info": _info,
    "pack": _pack,
    "verify": _verify,
    "install": _install,
    "bundle": _bundle,
}

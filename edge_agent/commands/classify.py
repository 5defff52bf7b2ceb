"""Print the top labels of pictures, with the model and engine that the agent would use.

  edge-agent classify cat.jpg
  edge-agent classify --json --top 5 pictures/*.jpg
  edge-agent classify --model ./my-model --engine torchscript --precision fp32 cat.jpg

Exit code 1 when a picture cannot be read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from edge_agent.config.schema import MemoryConfig, ModelConfig
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, SourceError, UsageError
from edge_agent.frame import Frame
from edge_agent.inference import Prediction
from edge_agent.inference.choice import choose_here, load_engine
from edge_agent.inference.classifier import Classifier
from edge_agent.install.in_use import find_model_in_use, read_as_run
from edge_agent.sources.picture import read_picture
from edge_agent.system.privileges import become_owner_of
from edge_agent.system.text import printable

_NO_LIMIT_MB = 65536  # a one-shot command is not held to the daemon's budget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="a JPEG, PNG, WebP or BMP file")
    parser.add_argument(
        "--model", metavar="DIR", type=Path, help="a model directory (default: what the agent runs)"
    )
    parser.add_argument("--engine", choices=("auto", "native", "xnnpack", "torchscript"), default="auto")
    parser.add_argument("--precision", choices=("auto", "fp16", "fp32"), default="auto")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads for inference (default: one per core)"
    )
    parser.add_argument("--top", metavar="K", type=int, default=3, help="how many labels (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each picture")


def run(args: argparse.Namespace) -> int:
    if args.top < 1:
        raise UsageError("--top: at least 1 is needed")
    classifier = _load(args)
    failures = 0
    for path in args.images:
        try:
            frame = Frame(0, 0.0, 0.0, read_picture(path), printable(path.name))
        except SourceError as error:
            print(f"edge-agent classify: {error}", file=sys.stderr)
            failures += 1
            continue
        _show(path, classifier.classify(frame, args.top), as_json=args.json)
    return EXIT_FAILURE if failures else EXIT_OK


def _load(args: argparse.Namespace) -> Classifier:
    artifact = read_as_run(find_model_in_use(args.model, os.environ, _enter))
    config = ModelConfig(engine=args.engine, precision=args.precision, threads=args.threads)
    choice = choose_here(artifact, config, MemoryConfig(budget_mb=_NO_LIMIT_MB), os.environ)
    engine = load_engine(
        artifact, choice.engine, choice.precision, threads=choice.threads, arithmetic=choice.arithmetic
    )
    return Classifier.from_artifact(artifact, engine)


def _enter(path: Path) -> None:
    if line := become_owner_of(path):
        print(line, file=sys.stderr)


def _show(path: Path, prediction: Prediction, *, as_json: bool) -> None:
    if as_json:
        result = {"image": printable(path), "top": [asdict(score) for score in prediction.top]}
        print(json.dumps(result | {"infer_ms": round(prediction.infer_ms, 1)}))
        return
    print(printable(path))
    for score in prediction.top:
        print(f"  {score.score:6.1%}  {printable(score.label)}")

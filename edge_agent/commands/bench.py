"""Measure memory and speed of several ways to run the same network, each in fresh processes.

Goes from the way that tutorials write it to the lean engine, and prints a table in Markdown. Rows whose
packages are not installed stay in the table and say so.

  edge-agent bench
  edge-agent bench --article
  edge-agent bench --train
  edge-agent bench --model ./my-model --images ./pictures --json bench.json --svg bench.svg
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import EXIT_OK, UsageError
from edge_agent.model.sidecar import read_sidecar
from edge_agent.system import paths
from edge_agent.system.privileges import become_owner_of
from edge_agent.tools import to_stderr

if TYPE_CHECKING:
    from edge_agent.inference.host import Host
    from edge_agent.tools.bench.result import BenchResult
    from edge_agent.tools.bench.rows import BenchSetup, RowSpec

_FRAMES = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="DIR", type=Path, help="a model directory (default: the installed)")
    add("--images", metavar="DIR", type=Path, help="pictures to compare on (default: bundled)")
    add("--weights", metavar="FILE", type=Path, help="the weights that the model was built from")
    add("--repeats", metavar="N", type=int, default=3, help="rounds (default: 3)")
    add("--frames", metavar="N", type=int, default=_FRAMES, help=f"frames a round ({_FRAMES})")
    add("--threads", metavar="N", type=int, help="threads (default: one per core, at most 4)")
    add("--row", metavar="NAME", action="append", help="only rows whose name contains this; may be repeated")
    add("--article", action="store_true", help="the article's methods beside its claims, training included")
    add("--train", action="store_true", help="what training takes, with gradient checkpointing and without")
    add("--json", metavar="FILE", type=Path, help="write all figures as JSON")
    add("--svg", metavar="FILE", type=Path, help="write a chart (needs the extra `bench`)")


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write the requested files."""
    if args.train:
        return _run_train()
    if args.article and args.row:
        raise UsageError("--article: it has rows of its own: leave out --row")
    from edge_agent.inference.host import read_host
    from edge_agent.tools.bench import chart
    from edge_agent.tools.bench.comparison import Bench, run_bench
    from edge_agent.tools.bench.markdown import markdown
    from edge_agent.tools.bench.rows import BenchSetup, standard_rows
    from edge_agent.tools.bench.torch_rows import weights_file
    from edge_agent.tools.measure.pictures import readable_pictures

    if args.svg:
        chart.require_matplotlib()
    directory = paths.find_model(args.model, os.environ)
    if line := become_owner_of(directory):
        to_stderr(line)
    artifact = read_sidecar(directory)
    host = read_host()
    pictures = readable_pictures(args.images, to_stderr)
    setup = BenchSetup(
        artifact=artifact,
        pictures=pictures.paths,
        pictures_skipped=pictures.skipped,
        frames=args.frames,
        threads=args.threads or host.default_threads,
        weights=weights_file(artifact.sidecar, args.weights),
    )
    known = _article_rows(host, setup) if args.article else standard_rows(host, setup)
    rows = tuple(row for row in known if is_wanted(row.name, args.row))
    if not rows:
        raise UsageError(f"--row {' '.join(args.row)}: no row is called that")
    bench = Bench(rows, setup, args.repeats)
    result = run_bench(bench, host, datetime.now(UTC).replace(microsecond=0), to_stderr)
    print(markdown(result), end="")
    if args.article:
        _show_article(result)
    if args.json:
        _write(args.json, result.to_json())
    if args.svg:
        _write(args.svg, chart.svg(result))
    return EXIT_OK


def _article_rows(host: Host, setup: BenchSetup) -> tuple[RowSpec, ...]:
    from edge_agent.tools.bench.article import article_rows
    from edge_agent.tools.builder.eager import require_torch

    require_torch()
    return article_rows(host, setup)


def _show_article(result: BenchResult) -> None:
    from edge_agent.tools.bench.article import BATCH, article_table
    from edge_agent.tools.train.probe import Way, probe

    to_stderr(f"training ResNet-18, batch {BATCH}, without and with gradient checkpointing")
    plain, blocks = (probe([Way(mode, BATCH, "fp32", "resnet18")])[0] for mode in ("none", "blocks"))
    print(f"\n{article_table(result, plain, blocks)}", end="")


def _run_train() -> int:
    from edge_agent.tools.builder.eager import require_torch
    from edge_agent.tools.train.probe import as_table, probes

    require_torch()
    print(as_table(tuple(probes("resnet18", (8, 32), to_stderr))), end="")
    return EXIT_OK


def is_wanted(name: str, parts: Sequence[str] | None) -> bool:
    """Whether a row's name contains one of the texts, in upper or lower case; None selects all."""
    return parts is None or any(part.lower() in name.lower() for part in parts)


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error

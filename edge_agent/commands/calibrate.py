"""Measure which engine, precision, threads and cores suit this CPU, and keep the evidence for the agent.

Every way to run the model is timed in fresh processes and its answers are compared with FP32's on real
pictures. The agent then takes the fastest that fits its memory budget and agrees on 99.7 % of the pictures.

Without --model it measures the model that the agent runs: that of `model.path`, or the one that came over
MQTT and runs in its place, which is measured as its plans alone, since the agent runs no program from
elsewhere.

  edge-agent calibrate
  edge-agent calibrate --model ./my-model --images ./pictures --budget-mb 100
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.config.schema import MemoryConfig, ModelConfig
from edge_agent.errors import EXIT_OK, BudgetError, UsageError
from edge_agent.system.privileges import become_owner_of
from edge_agent.system.text import plain_json, printable
from edge_agent.tools import to_stderr

if TYPE_CHECKING:
    from edge_agent.inference.evidence import Calibration

_FRAMES = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="DIR", type=Path, help="a model directory (default: what the agent runs)")
    add("--images", metavar="DIR", type=Path, help="pictures to compare on (default: bundled)")
    add("--budget-mb", metavar="N", type=int, help="the budget to choose for (default: 128)")
    add("--repeats", metavar="N", type=int, default=3, help="rounds of measuring (default: 3)")
    add("--frames", metavar="N", type=int, default=_FRAMES, help=f"frames a round ({_FRAMES})")
    add("--threads", metavar="N", type=int, action="append", help="only this thread count")
    add("--output", metavar="FILE", type=Path, help="where the evidence goes")
    add("--json", action="store_true", help="print the evidence as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, choose, store and print. Raises EdgeAgentError when nothing could be measured."""
    from edge_agent.inference import evidence
    from edge_agent.inference.choice import choose, evidence_paths
    from edge_agent.inference.evidence import describe_threads
    from edge_agent.inference.host import read_host
    from edge_agent.install.in_use import FROM_ELSEWHERE, find_model_in_use, is_from_elsewhere, read_as_run
    from edge_agent.memory.limits import BudgetLimits
    from edge_agent.tools import calibrate as calibration
    from edge_agent.tools.measure.pictures import readable_pictures

    directory = find_model_in_use(args.model, os.environ, _enter)
    artifact = read_as_run(directory)
    origin = f"; {FROM_ELSEWHERE}" if args.model is None and is_from_elsewhere(directory) else ""
    to_stderr(f"measuring {artifact.sidecar.name} in {printable(directory)}{origin}")
    host = read_host()
    threads = args.threads or calibration.thread_counts(host.usable_cores, host.default_threads)
    pictures = readable_pictures(args.images, to_stderr)
    found = calibration.calibrate(
        artifact,
        host,
        calibration.candidates(artifact, host, threads),
        pictures.paths,
        repeats=args.repeats,
        frames=args.frames,
        created=datetime.now(UTC).replace(microsecond=0),
        report=to_stderr,
    )
    places = (args.output,) if args.output else evidence_paths(artifact.directory, os.environ)
    stored = _store(found, places)
    memory = MemoryConfig() if args.budget_mb is None else MemoryConfig(budget_mb=args.budget_mb)
    try:
        verdict = choose(ModelConfig(), BudgetLimits.from_config(memory), artifact.sidecar, host, found)
        way = describe_threads(verdict.threads, verdict.affinity)
        chosen = f"the agent will use {verdict.name}, {way}: {verdict.reason}"
    except BudgetError as error:
        chosen = str(error)
    if args.json:
        more = {"choice": chosen, "stored": printable(stored), "pictures_skipped": pictures.skipped}
        print(json.dumps(plain_json(evidence.to_json(found) | more), indent=2))
    else:
        print(_table(found, pictures.skipped), f"\n{chosen}\nevidence: {stored}", sep="\n")
    return EXIT_OK


def _enter(path: Path) -> None:
    if line := become_owner_of(path):
        to_stderr(line)


def _store(found: Calibration, places: Sequence[Path]) -> Path:
    """Write the evidence to the first place where that succeeds. Raises UsageError when it does nowhere."""
    from edge_agent.inference import evidence

    problems: list[str] = []
    for place in places:
        try:
            _enter(place)
            evidence.write(found, place)
        except OSError as error:
            problems.append(f"{place}: {error.strerror or error}")
        else:
            return place
    raise UsageError(f"the evidence cannot be stored ({'; '.join(problems)}): use sudo, or --output FILE")


def _table(found: Calibration, skipped: int) -> str:
    from edge_agent.tools.measure.table import table

    times, sizes = ("load s", "p50 ms", "p95 ms"), ("peak MB", "steady MB")
    header = ("engine", "arithmetic", *times, *sizes, "agreement", "largest \u0394p")
    rows = [
        (
            m.name,
            m.arithmetic,
            f"{m.load_s:.2f}",
            f"{m.latency_p50_ms:.1f}",
            f"{m.latency_p95_ms:.1f}",
            f"{m.peak_mb:.0f}",
            f"{m.steady_mb:.0f}",
            f"{m.agreement:.1%}",
            f"{m.largest_probability_error:.1e}",
        )
        for m in found.measurements
    ]
    failures = [f"{f.engine} {f.precision} could not be measured: {f.reason}" for f in found.failures]
    compared = f"agreement: the same first label as {found.reference}, on {found.pictures} pictures"
    compared += f"; {skipped} skipped" if skipped else ""
    return "\n".join([table(header, rows), "", compared, *failures])

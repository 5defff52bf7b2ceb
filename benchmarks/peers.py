"""Runs ONNX Runtime, ncnn and LiteRT beside the agent's engines: same weights, same pictures, same rounds.

  pip install -e '.[torch,peers,bench]'
  python -m benchmarks.peers --model DIR [--images DIR] [--json FILE] [--svg FILE]

Measures each library with its default options and with its leanest, and also trimmed from outside in the way
that the agent trims itself. Prints the table, and how each row compares with the lean engine.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.convert import FILE_NAMES
from edge_agent.errors import EdgeAgentError
from edge_agent.inference.host import Host, read_host
from edge_agent.model.sidecar import read_sidecar
from edge_agent.system import paths
from edge_agent.tools import to_stderr
from edge_agent.tools.bench import chart
from edge_agent.tools.bench.comparison import Bench, run_bench
from edge_agent.tools.bench.markdown import markdown
from edge_agent.tools.bench.result import BenchResult
from edge_agent.tools.bench.rows import BenchSetup, RowSpec, engine_row, make_task, torchscript_row
from edge_agent.tools.measure.pictures import measured_pictures
from edge_agent.tools.measure.table import table

_LOADER = "benchmarks.peer_engines:load"
_LEAN = "lean FP16"
_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Variant:
    """One set of options of a library; `trims`: memory is held low from outside, as the agent does it."""

    options: str
    title: str
    trims: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """Another library: the package that runs models, the one that makes them, and the variants measured."""

    kind: str
    title: str
    runtime: str
    converter: str
    variants: tuple[Variant, ...]


_DEFAULT = (Variant("default", "default"), Variant("default", "default, trimmed", trims=True))
PEERS = (
    Peer(
        "onnxruntime",
        "ONNX Runtime",
        "onnxruntime",
        "onnx",
        (
            *_DEFAULT,
            Variant("leanest", "no prepacking, arena, layout"),
            Variant("leanest", "that, trimmed", trims=True),
        ),
    ),
    Peer(
        "ncnn",
        "ncnn",
        "ncnn",
        "pnnx",
        (*_DEFAULT, Variant("plain", "no Winograd"), Variant("leanest", "no Winograd, no sgemm")),
    ),
    Peer(
        "litert",
        "LiteRT",
        "ai_edge_litert",
        "litert_torch",
        (*_DEFAULT, Variant("leanest", "no XNNPACK delegate")),
    ),
)


def peer_rows(peer: Peer, setup: BenchSetup, directory: Path) -> list[RowSpec]:
    """The rows of one library; where it cannot be run, each says why."""
    names = [f"{peer.title}, {variant.title}" for variant in peer.variants]
    file = directory / FILE_NAMES[peer.kind]
    if problem := _convert(peer, setup, file):
        return [RowSpec(name, None, absent=problem) for name in names]
    size_mb = sum(path.stat().st_size for path in _parts(file)) / _MB
    shared = {"peer": peer.kind, "file": str(file), "threads": str(setup.threads)}
    return [
        RowSpec(
            name,
            make_task(_LOADER, setup, shared | {"variant": variant.options}, trims=variant.trims),
            size_mb,
        )
        for name, variant in zip(names, peer.variants, strict=True)
    ]


def ratios(result: BenchResult) -> str:
    """Memory and latency of every row as multiples of the lean engine's; empty where there is none."""
    summaries = {row.name: summary for row, summary in result.measured}
    lean = summaries.get(_LEAN)
    if lean is None:
        return ""
    rows = [
        (
            name,
            f"{summary.steady_mb.median / lean.steady_mb.median:.2f}",
            f"{summary.peak_mb.median / lean.peak_mb.median:.2f}",
            f"{summary.latency_p50_ms.median / lean.latency_p50_ms.median:.2f}",
        )
        for name, summary in summaries.items()
    ]
    header = ("what runs", "steady memory", "peak memory", "latency")
    return f"As multiples of {_LEAN}:\n\n{table(header, rows)}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    if args.svg:
        chart.require_matplotlib()
    artifact = read_sidecar(paths.find_model(args.model, os.environ))
    host = read_host()
    setup = BenchSetup(
        artifact, measured_pictures(args.images), args.frames, args.threads or host.default_threads
    )
    with tempfile.TemporaryDirectory(prefix="edge-agent-peers-") as directory:
        rows = _all_rows(host, setup, Path(directory))
        created = datetime.now(UTC).replace(microsecond=0)
        result = run_bench(Bench(rows, setup, args.repeats), host, created, to_stderr)
    print(markdown(result), ratios(result), sep="\n", end="")
    if args.json:
        args.json.write_text(result.to_json(), encoding="utf-8")
    if args.svg:
        args.svg.write_text(chart.svg(result), encoding="utf-8")
    return 0


def _all_rows(host: Host, setup: BenchSetup, directory: Path) -> tuple[RowSpec, ...]:
    own = (
        torchscript_row(host, setup),
        engine_row("FP16 weights, TorchScript", "torchscript", "fp16", host, setup),
        engine_row("lean FP32", "xnnpack", "fp32", host, setup),
        engine_row(_LEAN, "xnnpack", "fp16", host, setup),
    )
    return (*own, *(row for peer in PEERS for row in peer_rows(peer, setup, directory)))


def _convert(peer: Peer, setup: BenchSetup, file: Path) -> str:
    """Make the library's model file; returns the problem, or an empty string."""
    missing = [name for name in (peer.runtime, peer.converter) if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed (pip install 'edge-agent[torch,peers]')"
    source = setup.artifact.sidecar.files.get("torchscript-fp32")
    if source is None:
        return "the model has no torchscript-fp32 file to convert"
    to_stderr(f"converting for {peer.title}")
    path = setup.artifact.directory / source[0].name
    crop = setup.artifact.sidecar.preprocessing.crop
    command = [sys.executable, "-m", "benchmarks.convert", peer.kind, str(path), str(crop), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"the model could not be converted: {last[:200]}"
    return ""


def _parts(file: Path) -> tuple[Path, ...]:
    """ncnn's models are two files, the others' one."""
    return (file, file.with_suffix(".bin")) if file.suffix == ".param" else (file,)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="DIR", type=Path, help="a model directory (default: the installed one)")
    add("--images", metavar="DIR", type=Path, help="pictures to compare on (default: bundled)")
    add("--repeats", metavar="N", type=int, default=3, help="rounds (default: 3)")
    add("--frames", metavar="N", type=int, default=30, help="frames a round (default: 30)")
    add("--threads", metavar="N", type=int, help="threads (default: one per core, at most 4)")
    add("--json", metavar="FILE", type=Path, help="write all figures as JSON")
    add("--svg", metavar="FILE", type=Path, help="write a chart")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgeAgentError as error:
        sys.exit(f"{error}")

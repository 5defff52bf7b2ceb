"""Counts what a ResNet-18 picture takes on emulated ARM: python -m tests.arm.counted instructions|traffic.

The scripts of those names beside this file say what is printed. Debian's Python runs the native engine with
random FP16 weights, for one picture and for two: the difference is a picture, without the start.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.system import paths
from edge_agent.tools.builder.build import BuildOptions, build
from edge_agent.tools.builder.class_names import IMAGENET_CLASSES
from edge_agent.tools.builder.skeletons.find import find_skeleton
from tests.arm.pictures import logits_of

_REPOSITORY = Path(__file__).resolve().parents[2]
_PLUGINS = Path(__file__).parent / "plugins"
_SUITE = "bookworm"
_NETWORK = "resnet18"
_QEMU = "qemu-aarch64"
_LINE_BYTES = 64
_TOLERANCE = 1e-4
"""Of the logits, beside those of the kernels for this machine; relative to the largest."""
_GCC = ("gcc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
_LIBRARIES = "/usr/lib/aarch64-linux-gnu/blas:/usr/lib/aarch64-linux-gnu/lapack"


@dataclass(frozen=True, slots=True)
class Setting:
    """A board and a number of threads."""

    cpu: str
    """As qemu calls it."""
    threads: int
    l2_kb: int
    """Of the level 2 cache that its four cores share; 0 where each has its own."""


INSTRUCTIONS = (Setting("cortex-a72", 1, 1024), Setting("cortex-a76", 1, 0))
"""Raspberry Pi 4 and 5."""
TRAFFIC = tuple(Setting("cortex-a72", threads, l2_kb) for l2_kb in (1024, 512) for threads in (1, 4))
"""Raspberry Pi 4, and the cache of a Zero 2 W."""


class Workshop:
    """A folder with what is run: the model, the plug-ins, and a root for each kind of board."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._root = paths.cache_dir(os.environ) / "arm" / _SUITE
        self._model = work / "model"
        self._expected = np.empty(0, np.float32)

    def prepare(self) -> None:
        """Make all of it. Raises CalledProcessError, or OSError where a program is missing."""
        _run(sys.executable, "native/build.py", "--machine", "aarch64", "edge_agent/inference/native")
        _run("tests/arm/make-root", "arm64", _SUITE, str(self._root))
        for plugin in ("instructions", "traffic"):
            compile_plugin(plugin, self._work)
        weights = self._work / "random.safetensors"
        weights.write_bytes(random_weights(_NETWORK))
        build(BuildOptions(self._model, _NETWORK, weights), report=_silent)
        self._expected = logits_of(self._model, threads=1, pictures=1)
        self._pictures(INSTRUCTIONS[0], 0)  # without a plug-in it packs and compiles in less time

    def count(self, plugin: str, setting: Setting) -> dict[str, int]:
        """What a plug-in counts for one picture."""
        one, two = (self._counted(plugin, setting, pictures) for pictures in (1, 2))
        return {name: two[name] - one[name] for name in one}

    def _counted(self, plugin: str, setting: Setting, pictures: int) -> dict[str, int]:
        out = self._work / "counts"
        options = f"{self._work / plugin}.so,out={out}"
        if plugin == "traffic":
            options += f",l2={setting.l2_kb}"
        logits = self._pictures(setting, pictures, "-plugin", options)
        difference = float(np.abs(logits - self._expected).max() / np.abs(self._expected).max())
        if not difference < _TOLERANCE:
            sys.exit(f"tests/arm: {setting} gives other logits than this machine: {difference:.1e}")
        return read_counts(out)

    def _pictures(self, setting: Setting, pictures: int, *options: str) -> NDArray[np.float32]:
        logits = self._work / "logits.npy"
        root = self._board(setting)
        environment = {
            "LD_LIBRARY_PATH": _LIBRARIES,
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPYCACHEPREFIX": str(self._work / "bytecode"),
            "PYTHONHASHSEED": "0",
        }
        given = (word for item in environment.items() for word in ("-E", "=".join(item)))
        python = (self._root / "usr/bin/python3").resolve()
        program = (str(python), "-m", "tests.arm.pictures", str(self._model))
        arguments = (str(setting.threads), str(pictures), str(logits))
        _run(_QEMU, "-L", str(root), "-cpu", setting.cpu, *options, *given, *program, *arguments)
        made: NDArray[np.float32] = np.load(logits)
        return made

    def _board(self, setting: Setting) -> Path:
        """A root for qemu, which looks there first: Debian's files, and what Linux says of the caches."""
        root = self._work / f"board-{setting.l2_kb}"
        if root.exists():
            return root
        root.mkdir()
        for entry in self._root.iterdir():
            (root / entry.name).symlink_to(entry)
        for core in os.sched_getaffinity(0):
            cache = root / f"sys/devices/system/cpu/cpu{core}/cache/index2"
            cache.mkdir(parents=True)
            (cache / "level").write_text("2\n")
            (cache / "size").write_text(f"{setting.l2_kb or 512}K\n")
            (cache / "shared_cpu_list").write_text("0-3\n" if setting.l2_kb else f"{core}\n")
            siblings = cache.parents[1] / "topology/thread_siblings_list"
            siblings.parent.mkdir()
            siblings.write_text(f"{core}\n")
        return root


def compile_plugin(name: str, directory: Path) -> Path:
    """Compile a plug-in of qemu. Raises CalledProcessError."""
    target = directory / f"{name}.so"
    _run(*_GCC, str(_PLUGINS / f"{name}.c"), "-o", str(target))
    return target


def read_counts(path: Path) -> dict[str, int]:
    """What a plug-in has written: a name and a number a line."""
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}


def random_weights(network: str) -> bytes:
    """A state dict of that architecture, as safetensors, whose activations neither grow nor die out."""
    skeleton = find_skeleton(network)
    if skeleton is None:
        raise ValueError(f"there is no skeleton of {network}")
    generator = np.random.default_rng(0)
    header, body = {}, bytearray()
    for name, shape in skeleton.root.module().state().items():
        sizes = (IMAGENET_CLASSES, *shape[1:]) if name.startswith(f"{skeleton.last}.") else shape
        if len(sizes) > 1:
            values = generator.normal(0, math.sqrt(2 / math.prod(sizes[1:])), sizes).astype("<f4")
        else:  # a batch norm that changes nothing, or a bias
            values = np.full(sizes, name.endswith(("running_var", "weight")), "<f4")
        offsets = [len(body), len(body) + values.nbytes]
        header[name] = {"dtype": "F32", "shape": list(sizes), "data_offsets": offsets}
        body += values.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def instructions(workshop: Workshop) -> Iterator[dict[str, object]]:
    """Millions of instructions of one picture, in all and by kind."""
    for setting in INSTRUCTIONS:
        counts = workshop.count("instructions", setting)
        by_kind = {f"{kind}_million": round(count / 1e6, 1) for kind, count in counts.items()}
        total = round(sum(counts.values()) / 1e6, 1)
        yield _row(setting) | {"instructions_million": total} | by_kind


def traffic(workshop: Workshop) -> Iterator[dict[str, object]]:
    """Megabytes of one picture between the level 2 cache and memory."""
    for setting in TRAFFIC:
        counts = workshop.count("traffic", setting)
        read_mb, written_mb = (counts[f"lines_{way}"] * _LINE_BYTES / 1e6 for way in ("read", "written"))
        yield _row(setting) | {"read_mb": round(read_mb, 1), "written_mb": round(written_mb, 1)}


def _row(setting: Setting) -> dict[str, object]:
    return {"name": "native", "cpu": setting.cpu, "threads": setting.threads, "l2_kb": setting.l2_kb}


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=_REPOSITORY, stdout=sys.stderr)


def _silent(_line: str) -> None:
    """Report nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.arm.counted", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["instructions", "traffic"])
    what = parser.parse_args(arguments).what
    with tempfile.TemporaryDirectory() as work:
        workshop = Workshop(Path(work))
        try:
            workshop.prepare()
            for row in (instructions if what == "instructions" else traffic)(workshop):
                print(json.dumps(row), flush=True)
        except FileNotFoundError as error:
            print(f"tests/arm/{what}: no {error.filename}: see the head of tests/arm/{what}", file=sys.stderr)
            return 1
        except subprocess.CalledProcessError as error:
            print(f"tests/arm/{what}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

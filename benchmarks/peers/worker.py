"""A contestant's process: `python -m benchmarks.peers.worker DIRECTORY THREADS < contestant.json`.

It imports only what its library needs, loads, says what that took in a line of JSON, and then runs as many
pictures as each line of its input asks for, with their times in a line each. So rounds of all contestants can
be interleaved. It ends with its input.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.contestants import Contestant
from benchmarks.peers.convert import LOGITS, PICTURE
from benchmarks.peers.libraries import Run, load

_WARM_RUNS = 4


def memory_mb() -> dict[str, float]:
    """Resident memory of this process in MiB, as the kernel counts it."""
    fields = {"VmHWM": "peak_mb", "VmRSS": "steady_mb", "RssAnon": "anon_mb"}
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {fields[words[0][:-1]]: int(words[1]) / 1024 for words in lines if words[0][:-1] in fields}


def main(arguments: Sequence[str]) -> None:
    directory, threads = Path(arguments[0]), int(arguments[1])
    contestant = Contestant(**json.loads(sys.stdin.readline()))
    picture, expected = np.load(directory / PICTURE), np.load(directory / LOGITS)
    began_s = time.perf_counter()
    run = load(contestant.library, directory / contestant.file, threads, contestant.options, picture)
    logits = run().copy()
    load_s = time.perf_counter() - began_s
    error = float(np.abs(logits - expected).max() / np.abs(expected).max())
    for _ in range(_WARM_RUNS):
        run()
    _say({"load_s": load_s, "error": error})
    for line in sys.stdin:
        _say({"times_ms": _time(run, int(line)), **memory_mb()})


def _time(run: Run, pictures: int) -> list[float]:
    times_ms = []
    for _ in range(pictures):
        began_s = time.perf_counter()
        run()
        times_ms.append((time.perf_counter() - began_s) * 1000)
    return times_ms


def _say(answer: dict[str, Any]) -> None:
    # Libraries write to standard output, too: this line is known by its mark.
    print(f"@{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

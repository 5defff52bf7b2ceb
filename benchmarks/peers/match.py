"""Runs contestants side by side: one process each, all loaded, in rounds that take turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import Contestant

_START_S = 300


@dataclass(frozen=True, slots=True)
class Row:
    """What was found about one contestant. Memory in MiB of the whole process, Python and numpy included."""

    network: str
    name: str
    threads: int
    arithmetic: str
    p50_ms: float
    peak_mb: float
    steady_mb: float
    anon_mb: float
    load_s: float
    """From the import of the library to the first answer."""
    error: float
    """The largest error of a logit, relative to the largest logit of eager FP32 torch."""
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """A contestant that could not take part, and why."""

    network: str
    name: str
    threads: int
    reason: str


class _DeadError(Exception):
    """A contestant's process has ended."""


@dataclass(slots=True)
class _Player:
    contestant: Contestant
    process: subprocess.Popen[str]
    first: dict[str, Any]
    medians_ms: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    def play(self, pictures: int) -> None:
        answer = _ask(self.process, str(pictures))
        self.medians_ms.append(statistics.median(answer["times_ms"]))
        self.last = answer


def play(
    network: str,
    directory: Path,
    contestants: Sequence[Contestant],
    threads: int,
    *,
    rounds: int,
    pictures: int,
    busy: bool,
    report: Callable[[str], None],
) -> tuple[list[Row], list[Absent]]:
    """Measure all contestants on one network; `busy` lets a process for each core burn beside them."""
    rows: list[Row] = []
    absent: list[Absent] = []
    with ExitStack() as ended:
        players = []
        for contestant in contestants:
            try:
                players.append(_start(contestant, directory, threads, ended))
            except _DeadError as error:
                report(f"{contestant.name}: {error}")
                absent.append(Absent(network, contestant.name, threads, str(error)))
        if busy:
            for _ in range(os.cpu_count() or 1):
                ended.callback(subprocess.Popen([sys.executable, "-c", "while True: pass"]).kill)
        for number in range(rounds):
            report(f"{network}, {threads} threads: round {number + 1} of {rounds}")
            for player in list(players):
                try:
                    player.play(pictures)
                except _DeadError as error:
                    players.remove(player)
                    absent.append(Absent(network, player.contestant.name, threads, str(error)))
        for player in players:
            last, first = player.last, player.first
            rows.append(
                Row(
                    network,
                    player.contestant.name,
                    threads,
                    player.contestant.arithmetic,
                    statistics.median(player.medians_ms),
                    last["peak_mb"],
                    last["steady_mb"],
                    last["anon_mb"],
                    first["load_s"],
                    first["error"],
                    busy,
                )
            )
    return rows, absent


def _start(contestant: Contestant, directory: Path, threads: int, ended: ExitStack) -> _Player:
    if missing := contestant.missing(directory):
        raise _DeadError(f"{', '.join(missing)} not installed (pip install 'edge-agent[torch,peers]')")
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.worker", str(directory), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    ended.callback(process.wait, timeout=30)
    ended.callback(process.kill)
    return _Player(contestant, process, _ask(process, json.dumps(asdict(contestant))))


def _ask(process: subprocess.Popen[str], line: str) -> dict[str, Any]:
    """Write a line to a worker and return its answer. Raises _DeadError where it gives none."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise _DeadError(f"it has ended with status {process.wait(_START_S)}") from None
    for answer in process.stdout:
        if answer.startswith("@"):
            found: dict[str, Any] = json.loads(answer[1:])
            return found
    raise _DeadError(f"it has ended with status {process.wait(_START_S)}")

"""The whole daemon stays within its budget whatever pictures it meets: it skips those that do not fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import decoding
from edge_agent.memory.procfs import read_memory
from edge_agent.sources.decode_cost import DecodePlan
from edge_agent.sources.picture_header import read_header
from tests.daemon.conftest import StartDaemon
from tests.mqtt.brokers import wait_until

MB = 1 << 20
BUDGET_MB = 128
LADDER_MB = (20, 30, 35, 40, 45, 50, 55, 60, 70)
"""What decoding each picture takes; the first fits, the last does not."""
MOST_MEGAPIXELS = 65.0


def megapixels(kind: str, cost_mb: float, directory: Path) -> float:
    """How large a picture of that kind is that takes so much to decode, up to a limit."""
    path = directory / "sample"
    decoding.make(kind, path, 1)
    with path.open("rb") as file:
        header = read_header(file)

    def cost(size: float) -> float:
        side, fixed_bytes = size**0.5, round(header.fixed_bytes * size)
        larger = replace(
            header,
            width=round(header.width * side),
            height=round(header.height * side),
            row_bytes=round(header.row_bytes * side),
            fixed_bytes=fixed_bytes,
        )
        return DecodePlan.for_room(larger, 1 << 40).cost_bytes / MB

    low, high = 0.1, MOST_MEGAPIXELS
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) < cost_mb else (low, middle)
    return low


def play(start: StartDaemon, tmp_path: Path, kind: str, ladder_mb: Sequence[float]) -> None:
    """Hold the daemon's own peak against its budget while it goes through ever larger pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, cost_mb in enumerate(ladder_mb):
        decoding.make(kind, folder / f"{number}.jpg", megapixels(kind, cost_mb, tmp_path))
    settings = {"folder": {"path": str(folder), "loop": False}}
    daemon = start(source=settings, memory={"budget_mb": BUDGET_MB})
    peaks_mb: list[float] = []

    def has_ended() -> bool:
        if daemon.running:
            peaks_mb.append(read_memory(daemon.pid).peak_mb)
        return not daemon.running

    wait_until(has_ended, 120)
    peak_mb = max(peaks_mb)
    counts = re.search(r"pictures skipped skipped=\d+ read=(\d+)", daemon.log)
    read = int(counts[1]) if counts else len(ladder_mb)
    print(f"{kind}: {read} of {len(ladder_mb)} let through, peak {peak_mb:.1f} MB of {BUDGET_MB}")
    assert 60 < peak_mb <= BUDGET_MB
    assert read > 0
    is_always_cheap = megapixels(kind, ladder_mb[-1], tmp_path) > MOST_MEGAPIXELS - 1
    assert (f"{len(ladder_mb) - 1}.jpg: decoding its" in daemon.log) is not is_always_cheap


@pytest.mark.parametrize("kind", ["progressive JPEG"])
def test_the_largest_pictures_that_are_let_through_keep_the_daemon_within_its_budget(
    start: StartDaemon, tmp_path: Path, kind: str
) -> None:
    play(start, tmp_path, kind, LADDER_MB[::4])


@pytest.mark.decode
@pytest.mark.parametrize("kind", [kind for kind in decoding.MAKERS if "texts" not in kind])
def test_the_largest_pictures_of_every_kind_keep_the_daemon_within_its_budget(
    start: StartDaemon, tmp_path: Path, kind: str
) -> None:
    play(start, tmp_path, kind, LADDER_MB)

"""What a loaded network adds to VmRSS, in a fresh process: python -m tests.arm.resident CASE PRECISION.

Fails when that is more than the packed weights and a fixed allowance.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import numpy as np

from edge_agent.inference.xnnpack import XnnpackEngine
from edge_agent.model.plan import Precision
from tests.model.plans import artifact_of

SPARE_MB = 16
"""For the arena, the tables of windows, and under emulation the translated code."""


def main(case: Path, precision: Precision) -> int:
    picture = np.load(case / "expected.npz")["picture"]
    before = status_mb("VmRSS")
    engine = XnnpackEngine.load(artifact_of(case, precision), precision, threads=2)
    engine.run(picture)
    steady, peak = status_mb("VmRSS") - before, status_mb("VmHWM") - before
    packed = (case / f"xnnpack-{engine.info.arithmetic}.weights").stat().st_size / 2**20
    print(
        f"{case.name}, weights {precision}, arithmetic {engine.info.arithmetic}:"
        f" {packed:.1f} MB of packed weights add {steady:.1f} MB to VmRSS, {peak:.1f} MB at the peak"
    )
    return int(steady > packed + SPARE_MB)


def status_mb(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), cast(Precision, sys.argv[2])))

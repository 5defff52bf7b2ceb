"""No file crashes the process that loads it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.installed import needs_xnnpack

COUNT = 300


@needs_xnnpack
def test_damaged_plans_are_refused_or_run_but_never_crash() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.inference.hostile", str(COUNT)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    lines = result.stdout.splitlines()
    assert result.returncode == 0, f"plan {lines[-1]}: {result.returncode} {result.stderr}"
    counts = re.fullmatch(r"refused (\d+), ran (\d+)", lines[-1])
    assert counts is not None
    refused, ran = map(int, counts.groups())
    assert refused > COUNT // 2
    assert ran > COUNT // 50

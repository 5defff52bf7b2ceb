"""Gives damaged plans to the engine; run as a process of its own, since what it looks for is a crash.

Usage: python -m tests.inference.hostile COUNT. Prints the number of each plan before it is tried, and at the
end how many were refused and how many ran.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from edge_agent.errors import EdgeAgentError
from edge_agent.inference.xnnpack import XnnpackEngine
from edge_agent.model.plan import Precision
from edge_agent.model.plan_file import decode_plan, encode_plan
from tests.model.mutations import mutate
from tests.model.plans import picture_for, save_bytes, small_plan


def main(count: int) -> None:
    """Try damaged plans 0 to `count`; each number stands for the same plan always."""
    refused = 0
    with tempfile.TemporaryDirectory() as directory:
        for number in range(count):
            print(number, flush=True)
            refused += not _runs(random.Random(number), Path(directory))
    print(f"refused {refused}, ran {count - refused}")


def _runs(choices: random.Random, directory: Path) -> bool:
    precision: Precision = choices.choice(("fp16", "fp32"))
    plan, blob = small_plan(precision)
    damaged = mutate(encode_plan(plan), choices)
    weights = blob if choices.random() < 0.9 else blob[: choices.randrange(len(blob))]
    artifact = save_bytes(damaged, weights, directory, precision)
    try:
        engine = XnnpackEngine.load(artifact, precision, threads=2)
    except EdgeAgentError:
        return False
    engine.run(picture_for(decode_plan(damaged)))
    engine.close()
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]))

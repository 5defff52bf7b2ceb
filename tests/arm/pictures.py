"""Runs pictures through the native engine: python -m tests.arm.pictures MODEL THREADS PICTURES LOGITS.

On ARM, or under qemu-user as one, for `counted` beside this file. Weights are FP16; LOGITS is a file for
those of the last picture. Without a picture it only packs the weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference.choice import load_engine
from edge_agent.model.sidecar import read_sidecar

_SHAPE = (1, 224, 224, 3)


def logits_of(model: Path, threads: int, pictures: int) -> NDArray[np.float32]:
    """Run the same random picture so often; without one, the logits are empty."""
    picture = np.random.default_rng(1).standard_normal(_SHAPE).astype(np.float32)
    engine = load_engine(read_sidecar(model), "native", "fp16", threads=threads)
    logits = np.empty(0, np.float32)
    for _ in range(pictures):
        logits = engine.run(picture).copy()
    engine.close()
    return logits


if __name__ == "__main__":
    np.save(sys.argv[4], logits_of(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

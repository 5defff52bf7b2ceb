"""Writes what the ARM tests need and only torch can make: python -m tests.arm.cases DIRECTORY.

For each network: its plans, a picture, and the logits that eager FP32 torch gives for it on this machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from tests.tools.builder.networks import NAMES, lowered, picture


def main(directory: Path) -> None:
    for name in NAMES:
        case = directory / name
        case.mkdir(parents=True)
        network = lowered(name, case)
        x = picture()
        with torch.inference_mode():
            logits = network(x).reshape(-1)
        np.savez(
            case / "expected.npz", picture=x.permute(0, 2, 3, 1).contiguous().numpy(), logits=logits.numpy()
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

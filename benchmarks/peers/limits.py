"""What this machine can do at the most, measured in the same run as the libraries."""

from __future__ import annotations

import time

import numpy as np


def gflops(size: int = 1024, seconds: float = 1.0) -> float:
    """The best rate of numpy's matrix product on its threads: 10^9 additions and multiplications a second.

    A direct convolution in FP32 cannot be faster; Winograd's needs fewer multiplications for the same result.
    """
    left, right = np.random.default_rng(0).standard_normal((2, size, size), np.float32)
    best_s = float("inf")
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        began_s = time.perf_counter()
        left @ right
        best_s = min(best_s, time.perf_counter() - began_s)
    return 2 * size**3 / best_s / 1e9

"""How good a head was on other days than those on which it was taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.teaching.heads import Verdicts

RECALL = 0.95


@dataclass(frozen=True, slots=True)
class Marks:
    """Shares, 0 to 1."""

    accuracy: float
    """Of frames of what was taught: their best label is right."""
    strangers: float
    """Strangers taken for known where 95 % of what was taught is."""
    answered: float
    """Frames of what was taught that get a label and not `unknown`, as the head itself decides."""
    admitted: float
    """Strangers that get a label, as the head itself decides."""


def marks(known: Verdicts, truth: Sequence[str], strange: Verdicts) -> Marks:
    """Judge frames of what was taught, and of strangers."""
    right = [best == label for best, label in zip(known.best, truth, strict=True)]
    floor = np.sort(known.familiar)[int((1 - RECALL) * len(truth))]
    return Marks(
        accuracy=float(np.mean(right)),
        strangers=float(np.mean(strange.familiar >= floor)),
        answered=float(np.mean(known.accepted)),
        admitted=float(np.mean(strange.accepted)),
    )

"""Percentiles by nearest rank, without numpy: an answer is always one of the values measured."""

from __future__ import annotations

import math
from collections.abc import Iterable


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least `share` (above 0, at most 1) of `values` do not exceed.

    This is the inverse of the empirical distribution function (definition 1 in Hyndman and Fan, 1996).
    Raises ValueError when there are no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values to take a percentile of")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    """The 50th percentile; of an even number of values the lower middle one."""
    return percentile(values, 0.5)

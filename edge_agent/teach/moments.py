"""Exact sums over features: they add up to the same in whatever order, and in whatever portions.

What is summed, and what heads compute with, are roots of features: a few large numbers would else decide
alone. The root of an FP16 number is rounded to FP16 again.

A number in FP16 is a whole multiple of 2^-24 and below 2^16. So the sum of up to 2^13 of them is a multiple
of 2^-24 below 2^29, which a float64 holds without rounding. The squares are summed as Python's integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import TeachError
from edge_agent.lean_dataclass import dataclass
from edge_agent.teach.examples import AnyExample, Feature

MOST_ADDED = 1 << 13
"""More features than these cannot be summed exactly."""
UNIT = 2.0**-24
"""Every FP16 number is a multiple of it; `squares` counts in its square."""

_HALF_BITS = 20  # a number in units is below 2^40: two halves, whose products are summed in 64 bits


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """How many features there were, and the sums of their roots and of these' squared lengths: all exact."""

    count: int
    total: NDArray[np.float64]
    """Shape (features,)."""
    squares: int
    """In units of UNIT squared."""

    def __add__(self, other: Moment) -> Moment:
        """Raises TeachError where the sum would not be exact, or the features are of different networks."""
        if len(self.total) != len(other.total):
            raise TeachError(f"features of {len(self.total)} and of {len(other.total)} numbers do not add up")
        if self.count + other.count > MOST_ADDED:
            raise TeachError(f"more than {MOST_ADDED} examples of one label cannot be joined")
        return Moment(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> NDArray[np.float64]:
        return self.total / self.count

    def distance_from(self, centre: NDArray[np.float64]) -> float:
        """The root of the mean squared distance of the features to `centre`, shape (features,); never 0."""
        square = self.squares * UNIT**2 / self.count - 2 * float(centre @ self.mean) + float(centre @ centre)
        return math.sqrt(max(square, UNIT**2))


def rooted(features: NDArray[np.floating]) -> NDArray[np.float16]:
    """Roots of features, of the same shape; that of a negative number is negative."""
    numbers = features.astype(np.float32)
    roots = np.sqrt(np.abs(numbers))
    np.negative(roots, out=roots, where=numbers < 0)
    return roots.astype(np.float16)


def dot(rows: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product of each row, shape (..., features), with a vector of shape (features,).

    What answers for a frame multiplies with it: the library behind `@` would keep 0.7 MB of pages for that.
    """
    found: NDArray[np.float32] = np.einsum("...j,j->...", rows, vector)
    return found


def moment_of(feature: Feature) -> Moment:
    """The moment of the root of one feature."""
    numbers = rooted(feature).astype(np.float64)
    high, low = np.divmod(np.abs(numbers / UNIT).astype(np.int64), 1 << _HALF_BITS)
    squares = (int(high @ high) << 2 * _HALF_BITS) + (int(high @ low) << _HALF_BITS + 1) + int(low @ low)
    return Moment(1, numbers, squares)


def moments_of(examples: Iterable[AnyExample]) -> dict[str, Moment]:
    """The moment of each label, in the order of the labels."""
    found: dict[str, Moment] = {}
    for example in examples:
        add(found, example.label, moment_of(example.feature))
    return dict(sorted(found.items()))


def joined(parts: Iterable[Mapping[str, Moment]]) -> dict[str, Moment]:
    """The sum of several: what `moments_of` makes of all their examples together, to the last bit."""
    found: dict[str, Moment] = {}
    for part in parts:
        for label, moment in part.items():
            add(found, label, moment)
    return dict(sorted(found.items()))


def add(to: dict[str, Moment], label: str, moment: Moment) -> None:
    """Add to the moment of `label` in place."""
    to[label] = to[label] + moment if label in to else moment

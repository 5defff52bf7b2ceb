"""The products between all features: all that fitting needs, at a size that does not depend on theirs.

With n examples it is n x n numbers, 1 MB for 500. Other centres and lengths are put on afterwards, so it is
computed once, for the fit and for every trial that leaves examples out.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import numpy as np

from edge_agent.teach.examples import Feature
from edge_agent.teach.moments import rooted
from edge_agent.teach.unknown import Floats

BLOCK = 64
"""Features that are taken as float32 at a time."""

_SMALLEST_SQUARE = 1e-12


class Features(Protocol):
    """Features by their place; each may be read from disk whenever it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> Feature: ...


class Rows:
    """Roots of features, and behind them the mean root of unnamed frames if there is one, less a centre."""

    def __init__(self, features: Features, extra: Floats | None, centre: Floats) -> None:
        self._features = features
        self._extra = [] if extra is None else [extra]
        self._centre = centre
        self.features = len(centre)

    def __len__(self) -> int:
        return len(self._features) + len(self._extra)

    def block(self, start: int) -> Floats:
        """Rows from `start` on, shape (BLOCK or what is left, features)."""
        some = range(start, min(start + BLOCK, len(self._features)))
        extra = self._extra if start + BLOCK >= len(self) else []
        rows = np.empty((len(some) + len(extra), self.features), np.float32)
        for row, place in zip(rows, some, strict=False):
            row[:] = rooted(self._features[place])
        rows[len(some) :] = extra or 0
        rows -= self._centre
        return rows


def products(rows: Rows) -> Generator[None, None, Floats]:
    """Compute the products of all rows, shape (rows, rows), a block of rows between two yields."""
    found = np.empty((len(rows), len(rows)), np.float32)
    for top in range(0, len(rows), BLOCK):
        upper = rows.block(top)
        for left in range(0, top + 1, BLOCK):
            part = upper @ rows.block(left).T
            found[top : top + BLOCK, left : left + BLOCK] = part
            found[left : left + BLOCK, top : top + BLOCK] = part.T
        yield
    return found


def in_blocks(left: Floats, right: Floats) -> Floats:
    """The matrix product, some rows at a time: the library keeps the memory of its largest one for ever."""
    return np.concatenate([left[at : at + BLOCK] @ right for at in range(0, len(left), BLOCK)])


class Gram:
    """Products between rows less their weighted mean, brought to length 1.

    `weights`, shape (rows,), add up to 1, or are all zero where nothing is to be subtracted.
    """

    def __init__(self, products: Floats, weights: Floats) -> None:
        self._products = products
        self._weights = weights
        self._with_mean: Floats = products @ weights
        self._mean_square = np.float32(weights @ self._with_mean)
        squares = np.diagonal(products) - 2 * self._with_mean + self._mean_square
        self.scale: Floats = np.where(
            squares > _SMALLEST_SQUARE, 1 / np.sqrt(np.maximum(squares, _SMALLEST_SQUARE)), 0
        ).astype(np.float32)
        """Shape (rows,): one over the length of each centred row; 0 where it has none."""

    def times(self, columns: Floats) -> Floats:
        """The matrix of products between unit rows, times `columns` of shape (rows, n)."""
        scaled = self.scale[:, None] * columns
        result = in_blocks(self._products, scaled)
        result -= self._with_mean[:, None] * scaled.sum(axis=0)
        result += self._mean_square * scaled.sum(axis=0) - self._with_mean @ scaled
        result *= self.scale[:, None]
        return result

    def with_directions(self, shares: Floats) -> Floats:
        """Cosines of each row with means of rows, shape (rows, means).

        A column of `shares`, shape (rows, means), says what each row gives to a mean, and adds up to 1.
        """
        shares = shares - self._weights[:, None]
        towards = in_blocks(self._products, shares)
        squares = (shares * towards).sum(axis=0)
        towards -= self._weights @ towards
        towards *= self.scale[:, None]
        towards /= np.sqrt(np.maximum(squares, _SMALLEST_SQUARE))
        return towards

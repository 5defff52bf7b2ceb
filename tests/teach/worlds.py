"""Features as a camera's would be: things that look alike, bursts, a common offset, day and night."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_agent.teach.examples import Example
from edge_agent.teach.head import Backbone


def backbone(features: int = 512) -> Backbone:
    return Backbone("ab" * 32, "native-fp16", features)


@cache
def _axes(seed: int, rank: int, features: int) -> NDArray[np.float64]:
    chance = np.random.default_rng((seed, 0))
    return chance.normal(size=(rank, features)) / math.sqrt(rank * features)


@dataclass(frozen=True)
class World:
    """Gaussian clusters around an offset that all frames share; a burst and the night shift them."""

    labels: Sequence[str] = tuple("abcde")
    features: int = 512
    rank: int = 24
    apart: float = 1.0
    burst: float = 0.7
    noise: float = 0.5
    night: float = 0.7
    offset: float = 4.0
    seed: int = 0

    def _direction(self, number: int, length: float) -> NDArray[np.float64]:
        """A vector of about this length; of the same number and world the same.

        Networks use few of the directions that they have: all differences lie in `rank` of them.
        """
        chance = np.random.default_rng((self.seed, number))
        return chance.normal(size=self.rank) @ _axes(self.seed, self.rank, self.features) * length

    def example(self, label: str, burst: int, number: int, *, dark: bool = False) -> Example:
        thing = sum(ord(char) * 256**place for place, char in enumerate(label))
        parts = [
            self._direction(1, self.offset),
            self._direction(1000 + thing, self.apart),
            self._direction(2_000_000 + 1000 * thing + burst, self.burst),
            self._direction(3_000_000_000 + 1_000_000 * thing + 1000 * burst + number, self.noise),
            self._direction(2, self.night * dark),
        ]
        feature = np.sum(parts, axis=0).astype(np.float16)
        return Example(label, feature, 1e9 + 1e5 * burst + number, 20.0 if dark else 120.0, burst)

    def examples(self, bursts: Sequence[int], each: int, *, labels: Sequence[str] = ()) -> list[Example]:
        """`each` examples of every label in every burst; every second burst is at night."""
        return [
            self.example(label, burst, number, dark=burst % 2 == 1)
            for label in labels or self.labels
            for burst in bursts
            for number in range(each)
        ]

"""What evaluating an archive's code may take: a hostile file ends in an error, not in hours or gigabytes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge_agent.tools.builder.lowering.plan_builder import LoweringError

_STEPS = 500_000
"""Of evaluation: expressions, and items of lists and texts that are made. EfficientNet-B7 takes 80,000."""
_COMPUTED = 1 << 26
"""Numbers of constant tensors that the code computes."""
_WEIGHTS = 1 << 28
"""Numbers that the plan's weights hold; a plan of more is refused in the end."""
_DEPTH = 120
"""Of expressions, blocks and calls inside each other. Real networks stay below 30."""


class Budget:
    """Counts down. Every method raises LoweringError once too much has been taken."""

    def __init__(self) -> None:
        self._steps = _STEPS
        self._computed = _COMPUTED
        self._weights = _WEIGHTS
        self._depth = 0

    def steps(self, number: int = 1) -> None:
        """Take so many steps."""
        self._steps -= number
        if self._steps < 0:
            raise LoweringError(f"its code takes more than {_STEPS:,} steps")

    def compute(self, shape: Iterable[int]) -> None:
        """Take room for a constant tensor that the code computes."""
        self._computed -= _elements(shape)
        if self._computed < 0:
            raise LoweringError(f"its code computes more than {_COMPUTED:,} numbers")

    def weights(self, shape: Iterable[int]) -> None:
        """Take room for a constant that an operation reads."""
        self._weights -= _elements(shape)
        if self._weights < 0:
            raise LoweringError(f"its operations read more than {_WEIGHTS:,} weights")

    def __enter__(self) -> None:
        """Go one level deeper into the code, until `__exit__`."""
        self._depth += 1
        if self._depth > _DEPTH:
            self._depth -= 1
            raise LoweringError(f"its code is nested more than {_DEPTH} deep")

    def __exit__(self, *_: object) -> None:
        self._depth -= 1


def _elements(shape: Iterable[int]) -> int:
    """The elements of a shape, in integers that do not wrap around."""
    lengths = [int(length) for length in shape]
    if any(length < 0 for length in lengths):
        raise LoweringError(f"a tensor cannot have {min(lengths)} elements along a dimension")
    return math.prod(lengths)

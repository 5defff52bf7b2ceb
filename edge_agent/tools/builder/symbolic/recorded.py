"""What becomes of activations while code is evaluated: a graph of the operations that it calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.tools.builder.lowering.nodes import Value

PROBABILITIES = {"aten::softmax", "aten::log_softmax"}
"""What is only known as the last layer of a network, since the daemon does it."""

ENDINGS = {**dict.fromkeys(PROBABILITIES, "softmax"), "aten::sigmoid": "sigmoid", "aten::sigmoid_": "sigmoid"}
"""What a network may end with that the daemon does itself, and how its sidecar calls that."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Constant tensors that are one, joined along their first dimension, when they are needed."""

    arrays: tuple[NDArray[Any], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(len(array) for array in self.arrays), *self.arrays[0].shape[1:])

    def whole(self) -> NDArray[Any]:
        return np.concatenate(self.arrays)


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One operation.

    `arguments`: nodes, constants (arrays or Parts) and plain values, and tuples of those. `outline`: its
    result's shape in a plan without weights.
    """

    kind: str
    name: str
    arguments: tuple[object, ...]
    outline: Value

    def reads(self) -> Iterator[Node]:
        """Its operands that are activations, as often as they occur."""
        for argument in self.arguments:
            for each in argument if isinstance(argument, tuple) else (argument,):
                if isinstance(each, Node):
                    yield each


@dataclass(eq=False, slots=True)
class Memory:
    """What an activation and its views share; a change in place makes a new version."""

    version: int = 0


@dataclass(eq=False, slots=True)
class Activation:
    """A tensor that depends on the picture, as the code sees it. `node` changes with operations in place."""

    node: Node
    memory: Memory = field(default_factory=Memory)
    version: int = 0

    def view(self, node: Node) -> Activation:
        """Return the result of `node` in the same memory: neither may be read once the other has changed."""
        return Activation(node, self.memory, self.version)


def activations_in(arguments: Sequence[object]) -> Iterator[Activation]:
    """The activations among arguments, and in lists among them."""
    for argument in arguments:
        for each in argument if isinstance(argument, list | tuple) else (argument,):
            if isinstance(each, Activation):
                yield each

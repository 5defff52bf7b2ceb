"""A plan made ready to run: operators with packed weights, and the arena that their activations share."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EngineError
from edge_agent.inference.arena import Block, plan_arena
from edge_agent.inference.xnnpack.debian12 import Debian12Operators
from edge_agent.inference.xnnpack.debian13 import Debian13Operators
from edge_agent.inference.xnnpack.library import (
    DEBIAN_12,
    DEBIAN_13,
    Library,
    UnavailableError,
    XnnpackError,
    status_text,
)
from edge_agent.inference.xnnpack.operators import Operator, Operators
from edge_agent.inference.xnnpack.weights import PRIVATE, MappedWeights, open_weights
from edge_agent.model.plan import DTYPES, Plan, Precision, describe, weights_read
from edge_agent.model.plan_check import multiplications

READ_BEYOND_BYTES = 128
"""The largest XNN_EXTRA_BYTES: kernels may read, never write, this far beyond a tensor."""

ALONE_BELOW = 1_000_000
"""Operations with fewer multiplications run in the calling thread: waking the others would take longer."""

_WORKSPACE = -1
"""The number of the operators' common workspace, beside the tensors' numbers."""

_OPERATORS: dict[str, type[Operators]] = {
    DEBIAN_12.soname: Debian12Operators,
    DEBIAN_13.soname: Debian13Operators,
}


class _Step(NamedTuple):
    """An operator, the place of its operation in the plan, and the pool that helps the caller run it."""

    place: int
    operator: Operator
    pool: int | None


class Program:
    """A plan in one arithmetic, on one pool of threads."""

    def __init__(self, plan: Plan, weights: Path, arithmetic: Precision, library: Library, pool: int) -> None:
        """Pack the weights, one operation at a time, and lay out the arena.

        Raises UnavailableError when this library or CPU lacks an operator in this arithmetic, EngineError
        when the library refuses one, ArtifactError when the weights are not those of the plan.
        """
        self._plan = plan
        self._dtype = DTYPES[arithmetic]
        self._pool = pool
        self._run = library.function("xnn_run_operator", "pp")
        self._owner = _OPERATORS[library.release.soname](library, plan.tensors, arithmetic, pool)
        self._steps: list[_Step] = []
        try:
            with open_weights(weights, plan, arithmetic) as constants:
                self._pack(constants)
                self._lay_out(constants)
            self._connect()
        except BaseException:
            self.close()
            raise

    @property
    def input(self) -> NDArray[Any]:
        """The buffer for the picture: height * width * 3 values in NHWC order, of the arithmetic's type."""
        return self._array(self._plan.input)

    @property
    def output(self) -> NDArray[Any]:
        """The buffer that has the logits after `run`: shape (classes,), of the arithmetic's type."""
        return self._array(self._plan.output)

    @property
    def features(self) -> NDArray[Any]:
        """What the last layer read in the last `run`, of the arithmetic's type; may be empty."""
        features = self._plan.features
        return np.empty(0, self._dtype) if features is None else self._array(features)

    def run(self) -> None:
        """Compute. Raises EngineError when the library reports a failure."""
        for place, operator, pool in self._steps:
            status = self._run(operator.handle, pool)
            if status != 0:
                raise EngineError(f"{self._description(place)}: {status_text(status)}")

    def close(self) -> None:
        """Free what the library holds. A second call does nothing."""
        self._steps = []
        self._owner.close()

    def _pack(self, constants: MappedWeights) -> None:
        for place, operation in enumerate(self._plan.operations):
            filter_and_bias = [self._plan.tensors[identifier] for identifier in weights_read(operation)]
            with constants.addresses(filter_and_bias) as addresses, _named(self._description(place)):
                made = self._owner.make(operation, addresses)
            small = multiplications(operation, self._plan.tensors) < ALONE_BELOW
            self._steps += [_Step(place, operator, None if small else self._pool) for operator in made]

    def _lay_out(self, constants: MappedWeights) -> None:
        """Give every activation, constant operand and the workspace a place in one block of memory."""
        blocks = self._blocks()
        arena = plan_arena(list(blocks.values()))
        # A mapping of its own is page-aligned and goes back to the system as soon as nothing refers to it.
        self._memory = np.frombuffer(mmap.mmap(-1, arena.bytes, PRIVATE), np.uint8)
        self._offsets = dict(zip(blocks, arena.offsets, strict=True))
        for identifier in blocks:
            if identifier != _WORKSPACE and self._plan.tensors[identifier].offset is not None:
                constants.copy(self._plan.tensors[identifier], self._array(identifier))

    def _blocks(self) -> dict[int, Block]:
        end = len(self._steps)
        first = {self._plan.input: 0}
        last = {self._plan.input: 0}
        for step, (_, operator, _) in enumerate(self._steps):
            first.setdefault(operator.output, step)
            last.update(dict.fromkeys((*operator.inputs, operator.output), step))
        constants = {identifier: end for identifier in last if identifier not in first}
        last |= {self._plan.output: end, **constants}
        if self._plan.features is not None:
            last[self._plan.features] = end
        workspace = max((operator.workspace_bytes for _, operator, _ in self._steps), default=0)
        blocks = {_WORKSPACE: Block(workspace + READ_BEYOND_BYTES, 0, end)}
        for identifier, step in last.items():
            blocks[identifier] = Block(self._bytes(identifier), first.get(identifier, 0), step)
        return blocks

    def _connect(self) -> None:
        for place, operator, _ in self._steps:
            inputs = [self._address(identifier) for identifier in operator.inputs]
            output = self._address(operator.output) + operator.output_offset_bytes
            with _named(self._description(place)):
                operator.connect(inputs, output, self._address(_WORKSPACE))

    def _bytes(self, identifier: int) -> int:
        return self._plan.tensors[identifier].elements * self._dtype.itemsize + READ_BEYOND_BYTES

    def _address(self, identifier: int) -> int:
        return int(self._memory.ctypes.data) + self._offsets[identifier]

    def _array(self, identifier: int) -> NDArray[Any]:
        begin = self._offsets[identifier]
        end = begin + self._plan.tensors[identifier].elements * self._dtype.itemsize
        return self._memory[begin:end].view(self._dtype)

    def _description(self, place: int) -> str:
        return describe(place, self._plan.operations[place])


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Put the operation's name before the library's complaint."""
    try:
        yield
    except (XnnpackError, UnavailableError) as error:
        raise type(error)(f"{where}: {error}") from None

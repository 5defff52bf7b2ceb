"""Plans one block of memory whose places the activations of a network share."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.lean_dataclass import dataclass

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Block:
    """Memory that is in use from step `first` to step `last`, both included."""

    bytes: int
    first: int
    last: int

    def meets(self, other: Block) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class Arena:
    """The offset of each block, and the size of them together, in bytes."""

    offsets: tuple[int, ...]
    bytes: int


def plan_arena(blocks: Sequence[Block]) -> Arena:
    """Give each block an offset such that no two that are in use at one time overlap.

    Greedy by size: from the largest down, each block takes the lowest gap that it fits (Pisarchyk and Lee,
    "Efficient Memory Management for Deep Neural Net Inference", 2020).
    """
    placed: dict[int, int] = {}
    for index in sorted(range(len(blocks)), key=lambda index: -blocks[index].bytes):
        neighbours = sorted(
            (placed[other], placed[other] + blocks[other].bytes)
            for other in placed
            if blocks[other].meets(blocks[index])
        )
        placed[index] = _lowest_gap(neighbours, blocks[index].bytes)
    size = max((placed[index] + block.bytes for index, block in enumerate(blocks)), default=0)
    return Arena(tuple(placed[index] for index in range(len(blocks))), size)


def _lowest_gap(occupied: Sequence[tuple[int, int]], size: int) -> int:
    begin = 0
    for start, end in occupied:
        if begin + size <= start:
            break
        begin = max(begin, -(-end // ALIGNMENT) * ALIGNMENT)
    return begin

"""The arena that activations share."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.inference.arena import ALIGNMENT, Block, plan_arena

blocks = st.builds(
    lambda size, first, length: Block(size, first, first + length),
    st.integers(1, 5000),
    st.integers(0, 20),
    st.integers(0, 6),
)


@settings(deadline=None)
@given(st.lists(blocks, max_size=25))
def test_blocks_in_use_at_one_time_never_overlap(members: list[Block]) -> None:
    arena = plan_arena(members)
    for index, block in enumerate(members):
        begin, end = arena.offsets[index], arena.offsets[index] + block.bytes
        assert begin % ALIGNMENT == 0
        assert end <= arena.bytes
        for other, neighbour in enumerate(members[:index]):
            if block.meets(neighbour):
                assert end <= arena.offsets[other] or arena.offsets[other] + neighbour.bytes <= begin


def test_a_chain_of_layers_needs_no_more_than_its_largest_neighbours() -> None:
    sizes = [640, 3200, 832, 832, 1600, 64]
    chain = [Block(size, step, step + 1) for step, size in enumerate(sizes)]
    largest_pair = max(before + after for before, after in pairwise(sizes))
    assert plan_arena(chain).bytes == largest_pair


def test_nothing_needs_no_memory() -> None:
    assert plan_arena([]).bytes == 0

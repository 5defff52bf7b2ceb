"""Where tensors lie in memory: none is overwritten while it is needed, and concatenations cost nothing."""

from __future__ import annotations

from hypothesis import given, settings

from edge_agent.inference.native.layout import Border, Layout, Place, lay_out
from edge_agent.inference.native.steps import Kind, make_steps
from edge_agent.model.plan import Concat, Plan
from tests.model.plans import RandomPlan, plans

LANES = 16


def layout_of(built: tuple[Plan, bytes]) -> Layout:
    return lay_out(built[0], make_steps(built[0]), LANES)


def floats_of(place: Place) -> set[int]:
    """Every float that a tensor has in the block."""
    pixels = (place.offset + place.stride * pixel for pixel in range(place.height * place.width))
    return {first + channel for first in pixels for channel in range(place.channels)}


@settings(max_examples=150, deadline=None)
@given(plans())
def test_nothing_is_written_over_what_is_still_read(built: tuple[Plan, bytes]) -> None:
    plan, _ = built
    layout = layout_of(built)
    owner: dict[int, int] = dict.fromkeys(floats_of(layout.places[plan.input]), plan.input)
    for step in layout.steps:
        for identifier in step.reads:
            if identifier in layout.places and step.kind is not Kind.CONCAT:
                _assert_intact(layout, owner, identifier)
        owner.update(dict.fromkeys(floats_of(layout.places[step.output]), step.output))
        assert max(floats_of(layout.places[step.output])) < layout.floats
    _assert_intact(layout, owner, plan.output)


def _assert_intact(layout: Layout, owner: dict[int, int], identifier: int) -> None:
    """A tensor's floats were written last as it, or as a part of it."""
    mine = floats_of(layout.places[identifier])
    writers = {owner[number] for number in mine if number in owner}
    assert all(floats_of(layout.places[writer]) <= mine or writer == identifier for writer in writers) or any(
        mine <= floats_of(layout.places[writer]) for writer in writers
    )


def test_parts_of_a_concatenation_are_made_where_it_lies() -> None:
    builder = RandomPlan((1, 6, 6, 3))
    parts = [builder.conv2d(0, outputs, (1, 1)) for outputs in (5, 7)]
    joined = builder.add(Concat("cat", tuple(parts), 0))
    layout = layout_of(builder.build(joined))
    whole = layout.places[joined]
    assert [step.kind for step in layout.steps] == [Kind.DIRECT, Kind.DIRECT]
    assert [layout.places[part].offset - whole.offset for part in parts] == [0, 5]
    assert {layout.places[part].stride for part in parts} == {whole.stride}


def test_what_is_concatenated_again_and_again_is_never_copied() -> None:
    builder = RandomPlan((1, 6, 6, 3))
    made = [builder.conv2d(0, 4, (1, 1))]
    for _ in range(3):
        joined = builder.add(Concat("cat", tuple(made), 0)) if len(made) > 1 else made[0]
        made.append(builder.conv2d(joined, 4, (1, 1)))
    layout = layout_of(builder.build(builder.add(Concat("cat", tuple(made), 0))))
    assert {step.kind for step in layout.steps} == {Kind.DIRECT}


def test_a_part_that_is_there_twice_is_copied_once() -> None:
    builder = RandomPlan((1, 6, 6, 3))
    made = builder.conv2d(0, 4, (1, 1))
    layout = layout_of(builder.build(builder.add(Concat("cat", (made, made), 0))))
    assert [step.kind for step in layout.steps] == [Kind.DIRECT, Kind.APPLY]


def test_the_picture_gets_the_border_that_its_convolution_needs() -> None:
    builder = RandomPlan((1, 9, 10, 3))
    layout = layout_of(builder.build(builder.conv2d(0, 8, (3, 5), stride=(2, 2), padding=(1, 2, 1, 2))))
    assert layout.border == Border(top=1, left=2, bottom=1, right=1)
    place = layout.places[0]
    assert (place.height, place.width, place.stride) == (11, 13, 3)
    assert layout.steps[0].window.begin == (0, 0)


def test_a_picture_that_others_read_too_gets_no_border() -> None:
    builder = RandomPlan((1, 9, 9, 3))
    made = builder.conv2d(0, 3, padding=(1, 1, 1, 1))
    layout = layout_of(builder.build(builder.add(Concat("cat", (made, 0), 0))))
    assert layout.border == Border()

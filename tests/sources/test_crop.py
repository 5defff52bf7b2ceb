"""The rectangle of the sensor for a part of the picture, for every shape of part, picture and stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.frame import WHOLE, Box
from edge_agent.pipeline.part import place_in
from edge_agent.pipeline.turn import Turn
from edge_agent.sources.crop import Rectangle, crop_for, window_of

WHOLES = st.tuples(st.integers(0, 2000), st.integers(0, 2000), st.integers(640, 5000), st.integers(480, 4000))
ASPECTS = st.sampled_from([4 / 3, 16 / 9, 1.0, 3 / 4, 9 / 16, 2.35])
TURNS = st.builds(Turn, st.sampled_from([0, 90, 180, 270]), st.booleans(), st.booleans())


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    left, top = draw(st.floats(0, 0.95)), draw(st.floats(0, 0.95))
    return left, top, draw(st.floats(0.05, 1 - left)), draw(st.floats(0.05, 1 - top))


@given(boxes(), WHOLES, ASPECTS)
def test_a_crop_holds_the_part_lies_in_the_picture_and_has_the_streams_shape(
    box: Box, whole: Rectangle, aspect: float
) -> None:
    left, top, width, height = crop = crop_for(box, whole, aspect)
    assert whole[0] <= left < left + width <= whole[0] + whole[2]
    assert whole[1] <= top < top + height <= whole[1] + whole[3]
    window = window_of(crop, whole)
    for side in (0, 1):
        assert window[side] <= box[side] + 1e-5
        assert window[side] + window[side + 2] >= box[side] + box[side + 2] - 1e-5
    # Unless it has all of one side, it differs from the shape by what rounding to whole pixels adds.
    if width < whole[2] and height < whole[3]:
        assert abs(width - height * aspect) <= 2 * (1 + aspect)
    # And no smaller one would do.
    assert width <= box[2] * whole[2] + 2 or height <= box[3] * whole[3] + 2


@given(boxes(), WHOLES, ASPECTS, TURNS)
def test_what_is_looked_at_is_found_again_in_what_the_camera_shows(
    box: Box, whole: Rectangle, aspect: float, turn: Turn
) -> None:
    """From the turned picture to the sensor's rectangle and back to the turned frame."""
    crop = crop_for(turn.back(box), whole, aspect)
    window = turn.box(window_of(crop, whole))
    place = place_in(window, box)
    assert place is not None
    again = [
        window[0] + place[0] * window[2],
        window[1] + place[1] * window[3],
        place[2] * window[2],
        place[3] * window[3],
    ]
    assert again == pytest.approx(list(box), abs=1e-4)
    assert max(place[2], place[3]) > 0.9 or crop == whole


@given(WHOLES)
def test_a_crop_of_the_whole_picture_shows_the_whole_picture(whole: Rectangle) -> None:
    assert crop_for(WHOLE, whole, whole[2] / whole[3]) == whole
    assert window_of(whole, whole) == WHOLE


def test_a_part_at_the_edge_is_shown_with_what_is_beside_it() -> None:
    whole = (0, 0, 4000, 3000)
    assert crop_for((0.0, 0.0, 0.1, 0.2), whole, 4 / 3) == (0, 0, 800, 600)
    assert crop_for((0.9, 0.8, 0.1, 0.2), whole, 4 / 3) == (3200, 2400, 800, 600)
    assert crop_for((0.45, 0.4, 0.1, 0.2), whole, 4 / 3) == (1600, 1200, 800, 600)
    assert crop_for((0.0, 0.45, 1.0, 0.1), whole, 4 / 3) == whole

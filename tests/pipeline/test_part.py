"""Boxes and polygons cut out of frames, and frames that show a part of the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.schema import RegionConfig
from edge_agent.frame import WHOLE, Box, Frame
from edge_agent.pipeline.part import GREY, Part, Pixels, box_of, cut, place_in

TRIANGLE = RegionConfig(polygon=(0.25, 0.5, 0.75, 0.5, 0.5, 1.0))


def white(width: int, height: int, window: Box = WHOLE) -> Frame:
    return Frame(1, 0.0, 0.0, np.full((height, width, 3), 255, np.uint8), window=window)


def pixels_of(region: RegionConfig, frame: Frame) -> Pixels:
    part = Part(region).of(frame)
    assert part is not None
    return part.pixels


def test_a_polygon_is_seen_in_the_box_around_it_with_grey_outside() -> None:
    assert box_of(TRIANGLE) == (0.25, 0.5, 0.5, 0.5)
    frame = white(200, 100)
    pixels = pixels_of(TRIANGLE, frame)
    assert pixels.shape == (50, 100, 3)
    assert (pixels[2, 50] == 255).all()
    assert (pixels[45, 5] == GREY).all()
    assert (pixels == 255).mean() == pytest.approx(0.5, abs=0.02)
    assert (frame.pixels == 255).all(), "the frame belongs to others, too"


def test_a_polygon_is_seen_the_same_in_a_frame_that_shows_its_box() -> None:
    whole = np.random.default_rng(1).integers(0, 256, (100, 200, 3), np.uint8)
    window = (0.2, 0.4, 0.6, 0.6)
    frame = Frame(1, 0.0, 0.0, whole)
    cropped = replace(frame, pixels=cut(whole, window), window=window)
    assert np.array_equal(pixels_of(TRIANGLE, frame), pixels_of(TRIANGLE, cropped))
    assert np.array_equal(pixels_of(TRIANGLE, frame), Part(TRIANGLE).cut_out(whole))


def test_a_polygon_follows_frames_of_another_size() -> None:
    part = Part(TRIANGLE)
    sizes = [part.of(white(width, height)) for width, height in ((200, 100), (40, 60), (200, 100))]
    assert [each.pixels.shape[:2] for each in sizes if each] == [(50, 100), (30, 20), (50, 100)]


@given(
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64)), min_size=3, max_size=8, unique=True),
    st.integers(0, 63),
    st.integers(0, 63),
)
def test_what_lies_inside_a_polygon_is_kept_and_what_lies_outside_is_grey(
    corners: list[tuple[int, int]], column: int, row: int
) -> None:
    across, down = zip(*corners, strict=True)
    if max(across) - min(across) < 16 or max(down) - min(down) < 16:
        return
    left, top = min(across), min(down)
    if not (left <= column < max(across) and top <= row < max(down)):
        return
    region = RegionConfig(polygon=tuple(side / 64 for corner in corners for side in corner))
    pixels = pixels_of(region, white(64, 64))
    x, y = column + 0.5, row + 0.5
    if min(distance(corners, x, y)) > 1.5:
        assert (pixels[row - top, column - left, 0] == 255) == is_inside(corners, x, y)


def is_inside(corners: list[tuple[int, int]], x: float, y: float) -> bool:
    """By counting how often a ray to the right crosses the outline."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y1 > y) != (y2 > y):
            crossings += x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    return crossings % 2 == 1


def distance(corners: list[tuple[int, int]], x: float, y: float) -> list[float]:
    """From each side of the outline."""
    found = []
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = (x2 - x1) ** 2 + (y2 - y1) ** 2
        along = min(1.0, max(0.0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length))
        found.append(float(np.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1))))
    return found


def test_a_box_costs_no_copy() -> None:
    frame = white(100, 100)
    assert Part(None).of(frame) is frame
    assert np.shares_memory(pixels_of(RegionConfig((0.1, 0.1, 0.5, 0.5)), frame), frame.pixels)


def test_a_frame_of_another_part_of_the_picture_has_no_part() -> None:
    gate = Part(RegionConfig((0.5, 0.5, 0.25, 0.25)))
    assert gate.of(white(100, 100, (0.0, 0.0, 0.25, 0.25))) is None
    assert gate.of(white(100, 100, (0.6, 0.5, 0.4, 0.5))) is None
    almost = gate.of(white(100, 100, (0.501, 0.5, 0.4, 0.5)))
    assert almost is not None
    assert almost.window == gate.box
    assert Part(None).of(white(100, 100, (0.0, 0.0, 0.5, 1.0))) is None
    assert place_in((0.0, 0.0, 0.9999, 1.0), WHOLE) == WHOLE

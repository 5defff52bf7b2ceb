"""Turning pictures: every combination, against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from edge_agent.config.schema import SourceConfig
from edge_agent.frame import WHOLE
from edge_agent.pipeline.part import cut
from edge_agent.pipeline.turn import Turn

PIXELS = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("vflip", [False, True])
def test_a_picture_is_turned_clockwise_and_then_mirrored(degrees: int, hflip: bool, vflip: bool) -> None:
    expected = Image.fromarray(PIXELS).rotate(-degrees, expand=True)
    expected = ImageOps.mirror(expected) if hflip else expected
    expected = ImageOps.flip(expected) if vflip else expected
    turned = Turn(degrees, hflip, vflip)(PIXELS)
    np.testing.assert_array_equal(turned, np.asarray(expected))
    assert turned.flags.c_contiguous


def test_nothing_is_copied_where_nothing_is_turned() -> None:
    assert Turn()(PIXELS) is PIXELS


def test_the_settings_of_the_source_decide() -> None:
    assert Turn.from_config(SourceConfig(rotate="270", vflip=True)) == Turn(270, vflip=True)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("vflip", [False, True])
def test_a_box_goes_where_its_pixels_go_and_back(degrees: int, hflip: bool, vflip: bool) -> None:
    turn, box = Turn(degrees, hflip, vflip), (1 / 7, 2 / 5, 4 / 7, 2 / 5)
    there = turn.box(box)
    assert np.array_equal(cut(turn(PIXELS), there), turn(cut(PIXELS, box)))
    assert turn.back(there) == pytest.approx(box)
    assert turn.box(WHOLE) == turn.back(WHOLE) == WHOLE

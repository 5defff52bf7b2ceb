"""Shots: what is kept of a frame that is taught, whatever its shape."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_agent.errors import SourceError, TeachError
from edge_agent.inference import EngineInfo
from edge_agent.model.sidecar import Artifact
from edge_agent.pipeline.brightness import brightness_of
from edge_agent.pipeline.shots import (
    Pixels,
    as_feature,
    backbone_of,
    from_thumbnails,
    shot_of,
    thumbnail_of,
)
from edge_agent.teach.examples import MOST_THUMBNAIL_BYTES, Example
from edge_agent.teach.head import Backbone

FEATURE = np.linspace(0, 3, 8, dtype=np.float32)


def noise(width: int, height: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=20)
@given(st.integers(1, 1200), st.integers(1, 1200))
def test_a_picture_of_any_shape_gives_an_example(width: int, height: int) -> None:
    shot = shot_of(noise(width, height), FEATURE, 1e9)
    assert 0 < len(shot.thumbnail) <= MOST_THUMBNAIL_BYTES
    Example("open", shot.feature, shot.time_s, shot.brightness, 0, shot.thumbnail)
    with Image.open(io.BytesIO(shot.thumbnail)) as small:
        assert min(small.size) <= 224
        assert max(small.size) <= 448


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1280, 720), (398, 224)), ((720, 1280), (224, 398)), ((100, 80), (100, 80)), ((4000, 100), (448, 11))],
)
def test_a_thumbnail_has_224_pixels_where_it_can(size: tuple[int, int], expected: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(thumbnail_of(noise(*size)))) as small:
        assert small.size == expected


def test_a_part_of_a_frame_need_not_be_copied() -> None:
    frame = noise(200, 100)
    part = frame[10:60, 20:90]
    assert thumbnail_of(part) == thumbnail_of(part.copy())


def test_day_and_night_differ_in_brightness() -> None:
    dark, light = np.full((2, 300, 500, 3), [[[[20]]], [[[200]]]], np.uint8)
    assert (brightness_of(dark), brightness_of(light)) == (20.0, 200.0)
    assert brightness_of(noise(1920, 1080)) == pytest.approx(127.5, abs=2)


def test_without_thumbnails_nothing_of_the_picture_is_kept() -> None:
    assert shot_of(noise(300, 300), FEATURE, 1e9, with_thumbnail=False).thumbnail == b""


def test_a_network_without_features_cannot_be_taught() -> None:
    with pytest.raises(TeachError, match="cannot be taught"):
        as_feature(np.empty(0, np.float32))


def test_a_network_learns_again_from_thumbnails() -> None:
    features_of = from_thumbnails(lambda pixels: pixels.mean(axis=(0, 1), dtype=np.float32))
    feature = features_of(thumbnail_of(np.full((300, 300, 3), (10, 100, 200), np.uint8)))
    assert feature.dtype == np.float16
    assert feature == pytest.approx([10, 100, 200], abs=4)
    with pytest.raises(SourceError, match="the thumbnail of an example"):
        features_of(b"no JPEG")


def test_a_backbone_is_the_model_and_how_it_computes(lite0: Artifact) -> None:
    info = EngineInfo("native", "fp16", "fp32", 2, "kernels")
    assert backbone_of(lite0, info, 1280) == Backbone(lite0.sidecar.sha256, "native-fp32", 1280)

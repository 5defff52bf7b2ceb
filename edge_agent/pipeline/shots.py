"""Makes of a classified frame what a lesson is about: its feature, its brightness and a small picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.config.schema import Config, TeachConfig
from edge_agent.errors import TeachError
from edge_agent.inference import EngineInfo
from edge_agent.model.sidecar import Artifact
from edge_agent.pipeline.brightness import brightness_of
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.pipeline.opening import Periods
from edge_agent.sources.picture import decode_picture
from edge_agent.teach.examples import MOST_THUMBNAIL_BYTES, Feature, Limits
from edge_agent.teach.head import Backbone
from edge_agent.teach.lessons import Calendar, FeaturesOf, Lessons, Shot
from edge_agent.teach.unknown import Rules

THUMBNAIL_PX = 224
"""Of the shorter side; less where the other one would be longer than twice that."""

_QUALITIES = (85, 70, 50, 30, 10)

Pixels = NDArray[np.uint8]


def backbone_of(artifact: Artifact, info: EngineInfo, features: int) -> Backbone:
    """Which network features are of; `features` is how many numbers they have."""
    return Backbone(artifact.sidecar.sha256, f"{info.engine}-{info.arithmetic}", features)


def lessons_of(directory: Path, backbone: Backbone, config: TeachConfig) -> Lessons:
    """The lessons in a directory, within the limits of the configuration."""
    limits = Limits(per_label=config.per_label, in_all=config.in_all)
    return Lessons(directory, backbone, limits=limits, rules=Rules(probability=config.probability))


def calendar_of(config: Config) -> Calendar | None:
    """The owner's periods; None where there are none."""
    if not config.periods:
        return None
    periods = Periods(config.periods, config.schedule.night_below)
    return Calendar(tuple(config.periods), lambda example: periods.of(example.brightness, example.time_s))


def shot_of(
    pixels: Pixels, feature: NDArray[np.floating], time_s: float, *, with_thumbnail: bool = True
) -> Shot:
    """What is learnt from a frame.

    `pixels` is RGB, shape (height, width, 3), uint8, of what is watched alone; `feature` what the network
    made of it, shape (features,); `time_s` when it was taken, in seconds since 1970. Raises TeachError.
    """
    thumbnail = thumbnail_of(pixels) if with_thumbnail else b""
    return Shot(as_feature(feature), time_s, brightness_of(pixels), thumbnail)


def as_feature(feature: NDArray[np.floating]) -> Feature:
    """The feature as it is kept, in FP16. Raises TeachError where the network has none."""
    if not feature.size:
        raise TeachError("this network cannot be taught: it gives no features")
    with np.errstate(over="ignore"):  # what is too large is refused as an example
        return feature.astype(np.float16).ravel()


def thumbnail_of(pixels: Pixels) -> bytes:
    """A small JPEG of a picture, never larger than an example may have."""
    height, width = pixels.shape[:2]
    scale = min(1.0, THUMBNAIL_PX / min(width, height), 2 * THUMBNAIL_PX / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    jpegs = (encode_jpeg(small, quality) for quality in _QUALITIES)
    return next((jpeg for jpeg in jpegs if len(jpeg) <= MOST_THUMBNAIL_BYTES), b"")


def from_thumbnails(feature_of: Callable[[Pixels], NDArray[np.floating]]) -> FeaturesOf:
    """How a network learns again from thumbnails, see `Lessons.relearning`.

    `feature_of` is given the pixels of one, and returns what the network makes of them.
    """

    def features_of(jpeg: bytes) -> Feature:
        return as_feature(feature_of(decode_picture(jpeg, "the thumbnail of an example")))

    return features_of

"""The bundled pictures: complete, small, of a licence that is written down, and labelled right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config.schema import Config, MemoryConfig, ModelConfig
from edge_agent.frame import Frame
from edge_agent.inference.classifier import Classifier
from edge_agent.inference.loading import load_model
from edge_agent.model.sidecar import Artifact
from edge_agent.sources.picture import read_picture
from edge_agent.sources.picture_files import pictures_in
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES, PICTURES_DIR, BundledPicture

NOTICE = Path(__file__).parents[3] / "NOTICE"
LARGEST_BYTES = 100_000


@pytest.fixture(scope="module")
def classifier(lite0: Artifact) -> Iterator[Classifier]:
    config = Config(model=ModelConfig(path=lite0.directory), memory=MemoryConfig(budget_mb=65536))
    model = load_model(config.model, config.memory, config.labels, {})
    yield model.classifier
    model.close()


def test_each_picture_of_the_folder_has_its_labels() -> None:
    in_folder = [path.name for path in pictures_in(PICTURES_DIR)]
    assert [picture.name for picture in BUNDLED_PICTURES] == in_folder


@pytest.mark.parametrize("picture", BUNDLED_PICTURES, ids=lambda picture: str(picture.name))
def test_each_picture_is_small_and_its_origin_is_written_down(picture: BundledPicture) -> None:
    assert picture.path.stat().st_size < LARGEST_BYTES
    (entry,) = [
        line for line in NOTICE.read_text(encoding="utf-8").splitlines() if f" {picture.name} " in line
    ]
    assert "CC0" in entry


@pytest.mark.parametrize("picture", BUNDLED_PICTURES, ids=lambda picture: str(picture.name))
def test_a_model_with_real_weights_labels_each_picture_right(
    classifier: Classifier, picture: BundledPicture
) -> None:
    best, *_ = classifier.classify(Frame(1, 0.0, 0.0, read_picture(picture.path))).top
    assert best.label in picture.labels

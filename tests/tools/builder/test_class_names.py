"""Label files: one label a line, each once, and ImageNet's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ModelError
from edge_agent.tools.builder.class_names import imagenet_labels, read_labels


def test_imagenet_has_a_thousand_different_labels_in_the_usual_order() -> None:
    labels = imagenet_labels()
    assert len(set(labels)) == 1000
    assert (labels[0], labels[281], labels[999]) == ("tench", "tabby", "toilet tissue")


def test_imagenets_labels_are_those_of_every_torchvision_classifier() -> None:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    for name in models.list_models(module=models):
        assert tuple(models.get_model_weights(name).DEFAULT.meta["categories"]) == imagenet_labels(), name


def test_lines_are_labels_without_their_blanks(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat \r\n Große Dogge\r\n\r\n".encode())
    assert read_labels(tmp_path / "labels.txt") == ("cat", "Große Dogge")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"", "line 1 is empty"),
        (b"cat\ndog\ncat\n", "line 3 repeats the label of line 1, 'cat'"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_a_bad_label_file_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ModelError, match=rf"labels\.txt: {message}"):
        read_labels(tmp_path / "labels.txt")


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.txt: cannot be read"):
        read_labels(tmp_path / "absent.txt")

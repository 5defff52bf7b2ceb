"""Weights as training programs write them, and files that are something else."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import warnings
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import nn

from edge_agent.errors import ModelError
from edge_agent.inference.torchscript import deprecation_unmentioned
from edge_agent.model.sidecar import Preprocessing
from edge_agent.tools.builder.architectures import Architecture, find_architecture
from edge_agent.tools.builder.eager import Fitted, fit
from edge_agent.tools.builder.pretrained import Pretrained

IMAGENET = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
State = dict[str, Any]
Save = Callable[[Path], object]


def tiny(classes: int) -> nn.Module:
    """A network with a head that is one layer."""
    body = {"conv": nn.Conv2d(3, 8, 3), "norm": nn.BatchNorm2d(8), "pool": nn.AdaptiveAvgPool2d(1)}
    return nn.Sequential(OrderedDict(body | {"flat": nn.Flatten(), "fc": nn.Linear(8, classes)}))


def with_classifier(classes: int) -> nn.Module:
    """A network with a head of several layers."""
    head = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Dropout(), nn.Linear(16, classes))
    body = {"conv": nn.Conv2d(3, 8, 3), "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
    return nn.Sequential(OrderedDict(body | {"classifier": head}))


def architecture(make: Callable[[int], nn.Module] = tiny) -> Architecture:
    return Architecture("tiny", IMAGENET, Pretrained("none"), make)


def trained(make: Callable[[int], nn.Module] = tiny, classes: int = 5) -> nn.Module:
    torch.manual_seed(3)
    return make(classes).eval()


def answers_agree(found: Fitted, network: nn.Module) -> bool:
    picture = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return torch.equal(found.module(picture), network.eval()(picture))


def fitted(value: object, path: Path, made: Architecture | None = None) -> tuple[Fitted, list[str]]:
    torch.save(value, path / "weights.pth")
    lines: list[str] = []
    return fit(made or architecture(), path / "weights.pth", lines.append), lines


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


class AttributeDict(dict[str, Any]):
    """Lightning's kind of dict, as its name in a checkpoint says."""


AttributeDict.__module__ = "lightning.fabric.utilities.data"


def besides() -> State:
    """What training programs write beside the weights."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1)
    return {
        "args": argparse.Namespace(lr=0.1, milestones=[1, 2]),
        "accuracy": np.float64(0.9),
        "best": np.bool_(True),
        "history": np.zeros(3),
        "when": datetime.now(UTC),
        "where": Path("runs"),
        "losses": defaultdict(list, {"train": [1.0], "test": [2.0]}),
        "last": deque([1, 2], 3),
        "setup": SimpleNamespace(a=1),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1),
        "seen": frozenset([1]),
    }


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": prefixed("model.", state), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
        lambda state: {"state_dict": prefixed("net.backbone.", state) | {"loss.weight": torch.ones(5)}},
        lambda state: {"net": state},
        lambda state: {"model": state} | besides(),
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}},
        lambda state: {"any name": state} | besides(),
        lambda state: {"checkpoint": {"model": {"state_dict": state}}},
        lambda state: {
            "model": state,
            "model_ema": {"n_averaged": torch.tensor(9), **prefixed("module.", state)},
        },
        lambda state: {"n_averaged": torch.tensor(9), **prefixed("module.", state)},
        lambda state: prefixed("module._orig_mod.", state),
        lambda state: defaultdict(list, {"model": OrderedDict(state)}),  # type: ignore[arg-type]
        lambda state: {key: value.half() if value.ndim else value for key, value in state.items()},
    ],
)
def test_checkpoints_of_training_programs_are_understood(
    tmp_path: Path, wrap: Callable[[State], object]
) -> None:
    network = trained().half().float()
    found, _ = fitted(wrap(dict(network.state_dict())), tmp_path)
    assert found.classes == 5
    assert answers_agree(found, network)


def test_a_lightning_checkpoint_with_its_own_kind_of_dict_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = SimpleNamespace(AttributeDict=AttributeDict)
    for name in ("lightning", "lightning.fabric", "lightning.fabric.utilities", AttributeDict.__module__):
        monkeypatch.setitem(sys.modules, name, cast(Any, module))
    network = trained()
    state = prefixed("model.", network.state_dict()) | {"criterion.weight": torch.ones(5)}
    found, lines = fitted({"state_dict": state, "hyper_parameters": AttributeDict(lr=1, wd=2)}, tmp_path)
    assert answers_agree(found, network)
    assert lines == ["left out, since they are not below model.: criterion.weight"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            lambda s: prefixed("student.", s) | prefixed("teacher.", s),
            "more than once, as student and teacher",
        ),
        (lambda s: {"encoder": s, "decoder": s}, "several sets of weights: encoder, decoder"),
        (
            lambda s: {"model": s | {"fc.scale": 0.1, "fc.zero_point": 3}},
            r"quantised network \(fc.zero_point\)",
        ),
        (
            lambda s: s | {"conv.weight": s["conv.weight"].to(torch.int8)},
            r"quantised network \(conv.weight\)",
        ),
        (lambda s: s | {"norm.bias": s["norm.bias"] * float("nan")}, "not finite .*: norm.bias: .*earlier"),
        (lambda s: s | {"conv.weight": s["conv.weight"] / 0}, "not finite .*: conv.weight"),
        (lambda s: {"model": s, "x\x1b[31m": os.system}, r"holds more than tensors \(posix.system\)"),
        (lambda s: {"a\x1b[31m\n": 1, **s}, r"its entry 'a\\x1b\[31m\\n' is of type int"),
        (lambda _: tiny(5), r"a whole network \(.*torch.nn.modules"),
        (lambda s: {k: v for k, v in s.items() if "fc" not in k}, "they have no fc.weight"),
        (lambda s: s | {"fc.1.alpha": torch.zeros(2)}, r"unexpected: fc\.1\.alpha"),
    ],
)
def test_what_stands_in_the_way_is_said_in_own_words(
    tmp_path: Path, value: Callable[[State], object], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        fitted(value(dict(trained().state_dict())), tmp_path)
    assert str(caught.value).isprintable()
    assert "weights_only" not in str(caught.value)
    assert "safe_globals" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "assumed"),
    [
        (lambda: nn.Sequential(nn.Dropout(), nn.Linear(8, 5)), ""),
        (lambda: nn.Linear(8, 5, bias=False), ""),
        (lambda: nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 5)), ""),
        (lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 5)), "at 1"),
        (lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5)), "at 2"),
        (lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 6), nn.PReLU(), nn.Linear(6, 5)), ""),
        (
            lambda: nn.Sequential(
                nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 5)
            ),
            "at 1, 3",
        ),
        (lambda: nn.Sequential(OrderedDict(drop=nn.Dropout(), last=nn.Linear(8, 5))), ""),
    ],
)
def test_a_head_that_ends_in_a_linear_layer_is_rebuilt_and_what_is_assumed_is_said(
    tmp_path: Path, head: Callable[[], nn.Module], assumed: str
) -> None:
    network = trained()
    network.set_submodule("fc", head())
    found, (line,) = fitted(network.state_dict(), tmp_path)
    assert found.classes == 5
    assert answers_agree(found, network)
    assert line.startswith("rebuilt the head fc")
    assert line.endswith(f"assumed: ReLU between its linear layers, {assumed}" if assumed else "head fc")


@pytest.mark.parametrize(
    ("place", "head"),
    [
        ("classifier.3", lambda: nn.Linear(16, 5)),
        ("classifier.3", lambda: nn.Sequential(nn.Dropout(), nn.Linear(16, 5))),
        ("classifier", lambda: nn.Linear(8, 5)),
        ("classifier", lambda: nn.Sequential(nn.Linear(8, 5))),
        (
            "classifier",
            lambda: nn.Sequential(
                nn.Linear(8, 16), nn.Hardswish(), nn.Dropout(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 5)
            ),
        ),
    ],
)
def test_of_a_head_of_several_layers_those_that_were_kept_are_kept(
    tmp_path: Path, place: str, head: Callable[[], nn.Module]
) -> None:
    network = trained(with_classifier)
    network.set_submodule(place, head())
    found, _ = fitted(network.state_dict(), tmp_path, architecture(with_classifier))
    assert found.classes == 5
    assert answers_agree(found, network)


def test_a_head_that_cannot_be_rebuilt_is_named_by_its_keys(tmp_path: Path) -> None:
    network = trained()
    network.set_submodule("fc", nn.Sequential(OrderedDict(a=nn.Linear(8, 6), b=nn.Linear(6, 5))))
    with pytest.raises(ModelError, match=r"no fc\.weight but fc\.a\.weight, fc\.a\.bias, fc\.b\.weight"):
        fitted(network.state_dict(), tmp_path)


@pytest.mark.parametrize("has_auxiliary_heads", [True, False])
def test_a_fine_tuned_googlenet_needs_no_auxiliary_heads_and_counts_its_own_classes(
    tmp_path: Path, has_auxiliary_heads: bool
) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = models.googlenet(
            weights=None, aux_logits=has_auxiliary_heads, transform_input=True, init_weights=False
        )
    network.fc = nn.Linear(1024, 5)  # the auxiliary heads keep their 1000 classes
    found, _ = fitted(network.state_dict(), tmp_path, find_architecture("googlenet"))
    assert found.classes == 5
    assert answers_agree(found, network)


def test_a_network_of_one_channel_looks_at_the_first_of_three(tmp_path: Path) -> None:
    network = trained()
    network.set_submodule("conv", nn.Conv2d(1, 8, 3))
    found, _ = fitted(network.state_dict(), tmp_path)
    assert found.has_one_channel
    picture = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(found.module(picture.repeat(1, 3, 1, 1)), network(picture))


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_a_torchscript_file_gives_its_weights(tmp_path: Path, how: str) -> None:
    network = trained()
    with deprecation_unmentioned():
        scripted: Any = (
            torch.jit.script(network)
            if how == "scripted"
            else torch.jit.trace(network, torch.zeros(1, 3, 8, 8))  # type: ignore[no-untyped-call]
        )
        scripted.save(str(tmp_path / "weights.pt"))
    found = fit(architecture(), tmp_path / "weights.pt", print)
    assert answers_agree(found, network)


def test_a_frozen_torchscript_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with deprecation_unmentioned():
        traced: Any = torch.jit.trace(trained(), torch.zeros(1, 3, 8, 8))  # type: ignore[no-untyped-call]
        torch.jit.freeze(traced).save(str(tmp_path / "weights.pt"))
    with pytest.raises(ModelError, match=r"frozen TorchScript file: .*before it is frozen"):
        fit(architecture(), tmp_path / "weights.pt", print)


def zip_of(name: str) -> bytes:
    import io

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, b"content")
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file: .*fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "pointer of Git LFS.*git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Sign in", "a page of HTML.*download it again"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5 file, as Keras writes it"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(99), "an ONNX model"),
        (
            (64).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}' + bytes(99),
            "damaged, or no safetensors file",
        ),
        (b"\x1c\x00\x00\x00TFL3" + bytes(99), "TensorFlow Lite"),
        (zip_of("model.weights.h5"), "a model of Keras"),
        (zip_of("best.pth"), r"a zip archive: unpack it.*\(best\.pth\)"),
        (zip_of("archive/data.pkl")[:-9], "cut off or damaged"),
        (b"\x1f\x8b\x08" + bytes(99), "packed by gzip"),
        (b"404: Not Found, there is nothing here\n", "a text"),
        (bytes(4096), "nothing but zeros"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "a JPEG picture"),
        (pickle.dumps({"a": [1, 2]}, protocol=5), "not a file of weights that torch can read"),
    ],
)
def test_a_file_that_is_something_else_is_called_by_its_name(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ModelError, match=rf"weights\.pth: .*{message}") as caught:
        fit(architecture(), tmp_path / "weights.pth", print)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["constants.pkl", "other"])
def test_an_archive_that_unfolds_to_much_more_than_its_size_is_not_opened(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(40 << 20))
        archive.writestr(f"archive/{name}", b"")
    with pytest.raises(ModelError, match="unfolds to much more than its size"):
        fit(architecture(), tmp_path / "weights.pth", print)

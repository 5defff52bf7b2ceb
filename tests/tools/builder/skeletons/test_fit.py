"""Skeletons: with weights put in, the plans are those of torch's own networks, byte for byte."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

import torch
from torch import nn

from edge_agent.errors import ModelError
from edge_agent.inference.torchscript import deprecation_unmentioned
from edge_agent.model.plan import Concat, activations_read, weights_read
from edge_agent.model.plan_file import decode_plan
from edge_agent.tools.builder.architectures import find_architecture
from edge_agent.tools.builder.lowering.blob import encode
from edge_agent.tools.builder.lowering.graph import translate
from edge_agent.tools.builder.skeletons.find import find_skeleton, skeleton_names
from edge_agent.tools.builder.skeletons.fit import fit
from edge_agent.tools.builder.skeletons.record import record
from edge_agent.tools.builder.skeletons.skeleton import Skeleton, decode
from edge_agent.tools.builder.skeletons.skeleton import encode as encode_skeleton
from edge_agent.tools.builder.symbolic.translate import translate_archive

EVERYDAY = ("resnet18", "mobilenet_v3_small", "efficientnet_b0", "squeezenet1_1", "googlenet")
# While it freezes a graph, torch joins this one's concatenations of concatenations.
JOINED = "inception_v3"
OTHERS = tuple(name for name in skeleton_names() if name not in (*EVERYDAY, JOINED))


def silent(_line: str) -> None:
    """Report nothing."""


def skeleton_of(name: str) -> Skeleton:
    found = find_skeleton(name)
    assert found is not None
    return found


def by_skeleton(
    skeleton: Skeleton, weights: Path, report: Callable[[str], None] = silent
) -> tuple[bytes, bytes]:
    """The plan and the weights of a skeleton with the weights of a file."""
    crop = skeleton.preprocessing.crop
    translated = translate_archive(fit(skeleton, weights, report).archive, (1, crop, crop, 3))
    encoded = encode(translated.plan, translated.output, "fp32")
    return _with_modules_alone(encoded.plan_file), b"".join(encoded.weights())


def by_torch(network: nn.Module, crop: int) -> tuple[bytes, bytes]:
    """The same of torch's own graph, traced, with nothing folded by torch."""
    jit: Any = torch.jit
    with torch.no_grad(), deprecation_unmentioned(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = jit.trace(network.eval(), torch.zeros(1, 3, crop, crop), check_trace=False)
        frozen = jit.freeze(traced, optimize_numerics=False)
    encoded = encode(*translate(frozen.graph, (1, crop, crop, 3)), "fp32")
    return _with_modules_alone(encoded.plan_file), b"".join(encoded.weights())


def _with_modules_alone(plan: bytes) -> bytes:
    """A plan in which what belongs to no module does not say its place in the source, which differs."""
    return re.sub(rb'"name": "(line \d+ of|/)[^"]*"', b'"name": ""', plan)


def seeded(name: str, classes: int) -> nn.Module:
    torch.manual_seed(1)
    made = find_architecture(name).make(classes)
    for key, value in made.state_dict().items():
        if key.endswith("running_mean"):
            value.uniform_(-0.5, 0.5)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return made.eval()


@pytest.mark.parametrize(
    "name", [*EVERYDAY, *(pytest.param(name, marks=pytest.mark.skeletons) for name in OTHERS)]
)
def test_the_plan_is_that_of_torchs_own_network_byte_for_byte(name: str, tmp_path: Path) -> None:
    network = seeded(name, classes=7)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    skeleton = skeleton_of(name)
    assert by_skeleton(skeleton, tmp_path / "weights.pth") == by_torch(network, skeleton.preprocessing.crop)


def meaning(plan_file: bytes) -> str:
    """What a plan computes, whatever its tensors' numbers and however its concatenations are nested."""
    plan = decode_plan(plan_file)
    known: dict[int, tuple[str, ...]] = {
        number: (f"{tensor.shape} at {tensor.offset}",) for number, tensor in enumerate(plan.tensors)
    }
    for made in plan.operations:
        if isinstance(made, Concat):
            known[made.output] = tuple(part for source in made.inputs for part in known[source])
            continue
        sources = [known[source] for source in (*activations_read(made), *weights_read(made))]
        numbers = {"input", "output", "left", "right", "filter", "bias"}
        own = {field.name: getattr(made, field.name) for field in fields(made) if field.name not in numbers}
        text = f"{type(made).__name__} {own} {sources}"
        known[made.output] = (hashlib.sha256(text.encode()).hexdigest(),)
    return " ".join(known[plan.output])


@pytest.mark.skeletons
def test_where_torch_joins_concatenations_the_plan_means_the_same(tmp_path: Path) -> None:
    network = seeded(JOINED, classes=7)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    skeleton = skeleton_of(JOINED)
    found = by_skeleton(skeleton, tmp_path / "weights.pth")
    expected = by_torch(network, skeleton.preprocessing.crop)
    assert found[1] == expected[1]
    assert meaning(found[0]) == meaning(expected[0])
    assert meaning(found[0]) != meaning(found[0].replace(b"[0.0, null]", b"[0.5, null]", 1))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_recording_again_gives_the_same_bytes(name: str) -> None:
    assert encode_skeleton(record(name)) == encode_skeleton(skeleton_of(name))


def test_a_skeleton_has_the_input_and_the_weights_of_its_architecture() -> None:
    for name in ("resnet18", "inception_v3", "mobilenet_v3_large"):
        skeleton, architecture = skeleton_of(name), find_architecture(name)
        assert skeleton.preprocessing == architecture.preprocessing
        assert (skeleton.source, skeleton.url) == (
            architecture.pretrained.source,
            architecture.pretrained.url,
        )


HEADS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "one layer": ("fc", lambda: nn.Linear(512, 5)),
    "without bias": ("fc", lambda: nn.Linear(512, 5, bias=False)),
    "behind dropout": ("fc", lambda: nn.Sequential(nn.Dropout(), nn.Linear(512, 5))),
    "of two layers": ("fc", lambda: nn.Sequential(nn.Linear(512, 6), nn.ReLU(), nn.Linear(6, 5))),
    "with a normalisation": (
        "fc",
        lambda: nn.Sequential(nn.Linear(512, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5)),
    ),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_of_the_weights_own_is_rebuilt(case: str, tmp_path: Path) -> None:
    place, head = HEADS[case]
    network = seeded("resnet18", 9)
    network.set_submodule(place, head())
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in network.state_dict().items()}},
        tmp_path / "w.pth",
    )
    plan, weights = by_skeleton(skeleton_of("resnet18"), tmp_path / "w.pth")
    expected_plan, expected_weights = by_torch(network, 224)
    assert weights == expected_weights
    assert plan == expected_plan


def test_of_a_head_of_several_layers_those_that_were_kept_are_kept(tmp_path: Path) -> None:
    network = seeded("mobilenet_v3_small", 9)
    network.set_submodule("classifier.3", nn.Sequential(nn.Dropout(), nn.Linear(1024, 5)))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert by_skeleton(skeleton_of("mobilenet_v3_small"), tmp_path / "w.pth") == by_torch(network, 224)


def test_googlenet_of_one_channel_is_without_its_input_transform(tmp_path: Path) -> None:
    network = seeded("googlenet", 5)
    network.set_submodule("conv1.conv", nn.Conv2d(1, 64, 7, 2, 3, bias=False))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    fitted = fit(skeleton_of("googlenet"), tmp_path / "w.pth", silent)
    assert fitted.has_one_channel
    plan = translate_archive(fitted.archive, (1, 224, 224, 3)).plan
    assert plan.operations[0].name == "conv1.conv"


def test_weights_of_another_network_are_refused_with_their_keys(tmp_path: Path) -> None:
    torch.save(seeded("resnet34", 5).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"not for this architecture: unexpected: layer1\.2\.conv1\.weight"):
        fit(skeleton_of("resnet18"), tmp_path / "w.pth", silent)
    torch.save(seeded("mobilenet_v3_small", 5).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"the weights are not resnet18's: they have no fc\.weight"):
        fit(skeleton_of("resnet18"), tmp_path / "w.pth", silent)


def test_a_damaged_skeleton_is_named() -> None:
    whole = encode_skeleton(skeleton_of("resnet18"))
    for length in range(0, len(whole), 301):
        with pytest.raises(ModelError, match=r"resnet18\.skeleton: damaged; install edge-agent again"):
            decode(whole[:length], "resnet18.skeleton")


def test_an_architecture_that_no_plan_can_run_has_none() -> None:
    assert find_skeleton("swin_t") is None
    assert find_skeleton("no such network") is None

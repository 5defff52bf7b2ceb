"""Features on networks of every ending, against plain arithmetic, and on modules as torch makes them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from edge_agent.errors import EngineError
from edge_agent.inference import Engine, EngineInfo
from edge_agent.inference.native.engine import NativeEngine
from edge_agent.inference.torchscript import TorchScriptEngine, deprecation_unmentioned
from edge_agent.inference.xnnpack import XnnpackEngine
from edge_agent.model.plan import Activation, Bounds, FullyConnected, Plan, Precision
from edge_agent.tools.builder.archive_writer.write import write_archive
from edge_agent.tools.builder.reference import evaluate
from tests.installed import needing, needs_native, needs_torch, needs_xnnpack
from tests.model.plans import RandomPlan, constants_of, picture_for, plans, save, small_plan

if TYPE_CHECKING:
    import torch
    from torch import nn

Built = tuple[Plan, bytes]
Load = Callable[[Built, Path], Engine]
INFO = EngineInfo("torchscript", "fp32", "fp32", 1, "torch")


def native(built: Built, directory: Path) -> Engine:
    plan = built[0]
    return NativeEngine.load(save(*built, directory), plan.precision, threads=1, directories=[directory])


def xnnpack(built: Built, directory: Path) -> Engine:
    return XnnpackEngine.load(save(*built, directory), built[0].precision, threads=1)


def torchscript(built: Built, directory: Path) -> Engine:
    import torch

    plan, blob = built
    path = directory / "archive.pt"
    write_archive(path, plan, constants_of(plan, blob), plan.precision)
    module: torch.jit.ScriptModule = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return TorchScriptEngine(module.eval(), plan.input_shape, INFO)


LEAN = [needing(needs_native, native), needing(needs_xnnpack, xnnpack)]
ENGINES = [*LEAN, needing(needs_torch, torchscript)]


def of_a_vector(precision: Precision) -> Built:
    return small_plan(precision)


def of_a_picture(precision: Precision) -> Built:
    builder = RandomPlan((1, 9, 8, 3), precision)
    return builder.build(builder.linear(builder.conv2d(0, 7, bounds=Bounds(0.0)), 5))


def of_the_input(precision: Precision) -> Built:
    builder = RandomPlan((1, 4, 5, 3), precision)
    return builder.build(builder.linear(0, 6))


def of_the_second_layer(precision: Precision) -> Built:
    builder = RandomPlan((1, 5, 5, 3), precision)
    return builder.build(builder.linear(builder.linear(0, 40, Bounds(0.0)), 5))


def of_a_layer_in_slices(precision: Precision) -> Built:
    builder = RandomPlan((1, 1, 1, 3000), precision)
    return builder.build(builder.linear(0, 400))


@pytest.mark.parametrize("load", ENGINES)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize(
    "network", [of_a_vector, of_a_picture, of_the_input, of_the_second_layer, of_a_layer_in_slices]
)
def test_features_are_what_the_last_layer_reads(
    network: Callable[[Precision], Built], precision: Precision, load: Load, tmp_path: Path
) -> None:
    plan, blob = built = network(precision)
    engine = load(built, tmp_path)
    for seed in (0, 1):
        picture = picture_for(plan, seed)
        logits = engine.run(picture).copy()
        assert engine.features.dtype == np.float32
        assert cosine(engine.features, read_by_the_last_layer(plan, blob, picture)) > 0.9999
        np.testing.assert_allclose(answer_of_the_last_layer(plan, blob, engine.features), logits, atol=0.02)


def ends_in_a_convolution() -> Built:
    builder = RandomPlan((1, 6, 6, 3))
    return builder.build(builder.conv2d(0, 4, (6, 6)))


def ends_in_a_function() -> Built:
    builder = RandomPlan((1, 6, 6, 3))
    return builder.build(builder.add(Activation("end", "sigmoid", builder.linear(0, 4), 0)))


def clamps() -> Built:
    builder = RandomPlan((1, 6, 6, 3))
    return builder.build(builder.linear(0, 4, Bounds(0.0)))


def reads_too_much() -> Built:
    builder = RandomPlan((1, 64, 65, 1))
    return builder.build(builder.linear(0, 4))


@pytest.mark.parametrize("load", ENGINES)
@pytest.mark.parametrize(
    ("network", "why"),
    [
        (ends_in_a_convolution, "it ends in conv2d of 'conv0', not in a fully connected layer"),
        (ends_in_a_function, "it ends in activation of 'end', not in a fully connected layer"),
        (clamps, "its last layer 'fc0' clamps what it answers"),
        (reads_too_much, "its last layer 'fc0' reads 4160 numbers, more than 4096"),
    ],
)
def test_a_network_that_cannot_be_taught_has_none(
    network: Callable[[], Built], why: str, load: Load, tmp_path: Path
) -> None:
    plan, blob = built = network()
    assert (plan.features, plan.why_not_taught) == (None, why)
    engine, picture = load(built, tmp_path), picture_for(plan)
    np.testing.assert_allclose(engine.run(picture), evaluate(plan, blob, picture).output, atol=1e-3)
    assert engine.features.shape == (0,)


@pytest.mark.parametrize("load", LEAN)
@settings(max_examples=60)
@given(plans())
def test_with_the_last_layer_they_give_the_logits_of_any_network(load: Load, built: Built) -> None:
    plan, blob = built
    with tempfile.TemporaryDirectory() as directory:
        engine = load(built, Path(directory))
    picture = picture_for(plan)
    logits = engine.run(picture).copy()
    assert (engine.features.size == 0) == bool(plan.why_not_taught)
    if plan.features is not None:
        assert engine.features.size == plan.tensors[plan.features].elements
        made, scale = answer_of_the_last_layer(plan, blob, engine.features), np.abs(engine.features).max()
        np.testing.assert_allclose(made, logits, atol=1e-2 * max(1.0, scale))


@needs_torch
def test_torchs_own_modules_are_cut_before_their_last_layer() -> None:
    from torch import nn

    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(6 * 4 * 4, 5)
    )
    features, _ = traced(network)
    assert features.size == 6 * 4 * 4
    frozen, _ = traced(network, frozen=True)
    assert np.array_equal(frozen, features)
    logits_only, logits = traced(nn.Sequential(*network, nn.ReLU()))
    assert logits_only.size == 0
    assert logits.shape == (5,)
    assert traced(nn.Sequential(nn.Conv2d(3, 5, 6), nn.Flatten()))[0].size == 0


def traced(network: nn.Module, *, frozen: bool = False) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The features and logits of a network of torch for a picture of 6 x 6."""
    import torch

    picture = np.random.default_rng(3).normal(size=(1, 6, 6, 3)).astype(np.float32)
    network = network.eval()
    with torch.no_grad(), deprecation_unmentioned():
        module = torch.jit.trace(network, torch.zeros(1, 3, 6, 6))  # type: ignore[no-untyped-call]
        module = torch.jit.freeze(module) if frozen else module
    engine = TorchScriptEngine(module, (1, 6, 6, 3), INFO)
    logits = engine.run(picture)
    with torch.no_grad():
        expected = network(torch.from_numpy(picture).permute(0, 3, 1, 2))[0].numpy()
    assert np.array_equal(logits, expected)
    return engine.features, logits


@needs_torch
def test_a_torch_whose_graphs_cannot_be_cut_answers_without_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.delattr(torch._C, "_create_function_from_graph")
    built = small_plan()
    engine = torchscript(built, tmp_path)
    picture = picture_for(built[0])
    np.testing.assert_allclose(engine.run(picture), evaluate(*built, picture).output, atol=1e-4)
    assert engine.features.size == 0


@pytest.mark.parametrize("load", ENGINES)
def test_a_closed_engine_has_none(load: Load, tmp_path: Path) -> None:
    engine = load(small_plan(), tmp_path)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        _ = engine.features


def cosine(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


def read_by_the_last_layer(plan: Plan, blob: bytes, picture: NDArray[np.float32]) -> NDArray[np.float64]:
    assert plan.features is not None
    return evaluate(
        replace(plan, output=plan.features, operations=plan.operations[:-1]), blob, picture
    ).output


def answer_of_the_last_layer(plan: Plan, blob: bytes, features: NDArray[np.float32]) -> NDArray[np.float32]:
    last = next(made for made in plan.operations if made.output == plan.output)
    constants = constants_of(plan, blob)
    assert isinstance(last, FullyConnected)
    answer: NDArray[np.float32] = constants[last.filter] @ features + constants[last.bias]
    return answer

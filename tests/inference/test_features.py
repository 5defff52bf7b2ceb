"""Features: what the last layer reads is a second output of every engine, and the logits are as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.inference import Engine
from edge_agent.inference.choice import load_engine
from edge_agent.inference.native.engine import read_plan
from edge_agent.inference.torchscript import TorchScriptEngine
from edge_agent.model.plan import DTYPES, FullyConnected, Id, Plan, Precision
from edge_agent.model.sidecar import Artifact, EngineName, role_files, role_of
from tests.installed import has_native, has_xnnpack

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")


def loaded(artifact: Artifact, engine: EngineName, precision: Precision) -> Engine:
    if (engine == "native" and not has_native()) or (engine == "xnnpack" and not has_xnnpack()):
        pytest.skip(f"there is no {engine} engine here")
    if engine == "torchscript":
        pytest.importorskip("torch")
    return load_engine(artifact, engine, precision, threads=1)


def picture(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(1, 224, 224, 3)).astype(np.float32)


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["native", "xnnpack", "torchscript"])
def test_the_logits_are_the_last_layer_on_the_features(
    lite0: Artifact, name: EngineName, precision: Precision
) -> None:
    engine = loaded(lite0, name, precision)
    logits = engine.run(picture(1)).copy()
    features = engine.features.copy()
    assert features.shape == (1280,)
    weights, bias = last_layer(lite0, precision)
    np.testing.assert_allclose(weights @ features + bias, logits, rtol=0, atol=0.02 * np.abs(logits).max())
    engine.close()


@pytest.mark.parametrize("name", ["native", "xnnpack"])
def test_the_engines_agree_on_them(lite0: Artifact, name: EngineName) -> None:
    reference, engine = loaded(lite0, "torchscript", "fp32"), loaded(lite0, name, "fp32")
    for seed in range(3):
        reference.run(picture(seed))
        engine.run(picture(seed))
        assert cosine(engine.features, reference.features) > 0.9999


def test_the_second_output_changes_no_bit_of_torchs_logits(lite0: Artifact) -> None:
    torch = pytest.importorskip("torch")
    engine = loaded(lite0, "torchscript", "fp32")
    assert isinstance(engine, TorchScriptEngine)
    (file,) = role_files(lite0, role_of("torchscript", "fp32"))
    module = torch.jit.load(lite0.directory / file.name)
    nchw = torch.from_numpy(picture(1)).permute(0, 3, 1, 2)
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        plain = module(nchw)[0].numpy()
    np.testing.assert_array_equal(engine.run(picture(1)), plain)


@pytest.mark.parametrize("name", ["native", "torchscript"])
def test_a_network_that_ends_in_something_else_has_none_and_says_why(
    tmp_path: Path, name: EngineName
) -> None:
    artifact = without_last_layer(tmp_path)
    engine = loaded(artifact, name, "fp32")
    engine.run(picture(1))
    assert engine.features.size == 0
    plan, _ = read_plan(artifact, "fp32")
    assert plan.features is None
    assert plan.why_not_taught.startswith("it ends in global_average_pool")


def last_layer(artifact: Artifact, precision: Precision) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights, shape (classes, features), and bias of the plan's last operation."""
    plan, _ = read_plan(artifact, precision)
    last = plan.operations[-1]
    assert isinstance(last, FullyConnected)
    _, blob = role_files(artifact, role_of("native", precision))
    data = (artifact.directory / blob.name).read_bytes()
    return constant(plan, data, last.filter), constant(plan, data, last.bias)


def constant(plan: Plan, data: bytes, identifier: Id) -> NDArray[np.float32]:
    tensor = plan.tensors[identifier]
    assert tensor.offset is not None
    values = np.frombuffer(data, DTYPES[plan.precision], tensor.elements, tensor.offset)
    return values.reshape(tensor.shape).astype(np.float32)


def without_last_layer(directory: Path) -> Artifact:
    pytest.importorskip("torch")
    import torch

    from edge_agent.tools.builder.build import BuildOptions, build
    from tests.tools.builder.networks import network

    torch.save(network("squeezenet1_1", classes=3).state_dict(), directory / "weights.pth")
    (directory / "labels.txt").write_text("cat\ndog\nmug\n")
    options = BuildOptions(
        directory / "model", "squeezenet1_1", directory / "weights.pth", directory / "labels.txt"
    )
    return build(options, lambda _line: None)

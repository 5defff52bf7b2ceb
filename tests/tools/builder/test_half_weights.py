"""FP16 weights: stored as halves, converted where they are used, never computed with."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import nn

from edge_agent.tools.builder.half_weights import store_weights_as_half
from edge_agent.tools.builder.script import InputShape, freeze, load, probe, save

SHAPE: InputShape = (1, 16, 16, 3)
CONVERSION_TO_FLOAT32 = 6


class Rounded(nn.Module):
    """The same network with weights that FP16 can hold: what the rewritten one must compute."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                module.weight.data = module.weight.data.half().float()

    def forward(self, picture: torch.Tensor) -> Any:
        return self.network(picture)


def network(*layers: nn.Module) -> Rounded:
    torch.manual_seed(0)
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.reset_parameters()
    return Rounded(nn.Sequential(*layers).eval())


def rewritten(made: nn.Module, path: Path) -> torch.jit.ScriptModule:
    module = freeze(made, SHAPE)
    store_weights_as_half(module)
    save(module, path / "half.pt")
    return load(path / "half.pt")


def nodes(module: torch.jit.ScriptModule, kind: str) -> list[Any]:
    return [node for node in module.graph.nodes() if node.kind() == kind]


NETWORKS = {
    "convolution": [nn.Conv2d(3, 64, 3), nn.ReLU(inplace=True), nn.Conv2d(64, 64, 3)],
    "in slices": [nn.Conv2d(3, 300, 1), nn.ReLU(inplace=True), nn.Conv2d(300, 250, 3, padding=1)],
    "in slices, no bias": [nn.Conv2d(3, 300, 1), nn.Conv2d(300, 250, 3, stride=2, bias=False)],
    "depthwise": [nn.Conv2d(3, 256, 1), nn.Conv2d(256, 256, 3, groups=256), nn.Hardswish()],
    "grouped and large": [nn.Conv2d(3, 1024, 1), nn.Conv2d(1024, 1024, 3, groups=2)],
    "transposed and large": [nn.Conv2d(3, 400, 1), nn.ConvTranspose2d(400, 400, 3)],
    "linear in slices": [nn.Flatten(), nn.Linear(3 * 16 * 16, 1000), nn.ReLU(), nn.Linear(1000, 37)],
}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_it_computes_what_fp32_does_with_rounded_weights(layers: list[nn.Module], tmp_path: Path) -> None:
    made = network(*layers)
    with torch.inference_mode():
        expected = made(probe(SHAPE, 3))
        found = rewritten(made, tmp_path)(probe(SHAPE, 3))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_each_half_is_read_only_to_be_converted_to_fp32(layers: list[nn.Module], tmp_path: Path) -> None:
    module = rewritten(network(*layers), tmp_path)
    halves = nodes(module, "prim::GetAttr")
    assert halves
    for half in halves:
        (use,) = half.output().uses()
        assert use.user.kind() == "aten::to"
        assert list(use.user.inputs())[1].toIValue() == CONVERSION_TO_FLOAT32
        assert getattr(module, half.s("name")).dtype == torch.float16


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_running_it_does_not_turn_weights_into_fp32_constants(
    layers: list[nn.Module], tmp_path: Path
) -> None:
    module = rewritten(network(*layers), tmp_path)
    with torch.inference_mode():
        for _ in range(4):  # torch optimises the graph after the first two
            module(probe(SHAPE, 1))
    executed: Any = torch.jit.last_executed_optimized_graph()  # type: ignore[attr-defined]
    constants = [
        node.output().toIValue()
        for node in executed.findAllNodes("prim::Constant")
        if node.output().type().kind() == "TensorType"
    ]
    assert all(constant.ndim < 2 or constant.numel() < 1024 for constant in constants)
    assert len(executed.findAllNodes("aten::to")) == len(nodes(module, "aten::to"))


def test_a_large_weight_is_converted_a_slice_at_a_time(tmp_path: Path) -> None:
    made = network(nn.Conv2d(3, 300, 1), nn.Conv2d(300, 250, 3))
    module = rewritten(made, tmp_path)
    sizes = [getattr(module, half.s("name")).numel() for half in nodes(module, "prim::GetAttr")]
    assert sum(sizes) == 300 * 250 * 9, "the first weight is too small to be worth it"
    assert len(sizes) > 1
    assert max(sizes) <= 300_000


def test_batch_norm_is_gone_from_the_graph() -> None:
    norm = nn.BatchNorm2d(64)
    norm.running_mean = torch.linspace(-1, 1, 64)
    norm.running_var = torch.linspace(0.5, 2, 64)
    made = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 64, 3, bias=False), norm=norm)).eval()
    module = freeze(made, SHAPE)
    with torch.inference_mode():
        torch.testing.assert_close(module(probe(SHAPE, 1)), made(probe(SHAPE, 1)), rtol=1e-4, atol=1e-5)
    assert nodes(module, "aten::batch_norm") == []


def test_biases_and_small_weights_stay_fp32(tmp_path: Path) -> None:
    module = rewritten(network(nn.Conv2d(3, 4, 3)), tmp_path)
    assert nodes(module, "prim::GetAttr") == []


def test_a_weight_beyond_the_range_of_fp16_stays_fp32(tmp_path: Path) -> None:
    first = nn.Conv2d(3, 64, 3)
    first.weight.data[0, 0, 0, 0] = 1e5
    made = nn.Sequential(first, nn.Conv2d(64, 64, 3)).eval()
    with torch.inference_mode():
        found = rewritten(made, tmp_path)(probe(SHAPE, 3))
        assert found.isfinite().all()
        expected = made(probe(SHAPE, 3))
    assert float((found - expected).abs().max()) < 1e-3 * float(expected.abs().max())
    module = load(tmp_path / "half.pt")
    assert len(nodes(module, "prim::GetAttr")) == 1


def test_a_weight_that_is_used_twice_is_stored_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(3, 3, 21, padding=10)

        def forward(self, picture: torch.Tensor) -> Any:
            return self.shared(self.shared(picture))

    module = freeze(Twice().eval(), SHAPE)
    assert store_weights_as_half(module) == 1
    assert len(nodes(module, "aten::to")) == 2


def test_the_file_is_about_half_as_large(tmp_path: Path) -> None:
    made = network(nn.Conv2d(3, 512, 3), nn.ReLU(), nn.Conv2d(512, 256, 3))
    rewritten(made, tmp_path)
    save(freeze(made, SHAPE), tmp_path / "whole.pt")
    half, whole = ((tmp_path / name).stat().st_size for name in ("half.pt", "whole.pt"))
    assert 0.45 < half / whole < 0.55

"""Lowering: what a TorchScript module computes, its plan computes too."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from edge_agent.inference.choice import load_engine
from edge_agent.model.plan import (
    ALIGNMENT,
    Activation,
    Arithmetic,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Operation,
    Plan,
    Pool2d,
    Precision,
)
from edge_agent.model.plan_file import decode_plan
from edge_agent.model.sidecar import EngineName
from edge_agent.tools.builder.lowering.lower import LoweringError, lower
from edge_agent.tools.builder.reference import evaluate
from edge_agent.tools.builder.script import freeze, load, save
from tests.installed import needing, needs_native, needs_xnnpack
from tests.model.plans import artifact_of
from tests.tools.builder.networks import NAMES, lowered, picture

TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "fp16": 3e-2}
"""Of the logits, relative to the largest; fp16 rounds each weight to eleven bits."""

SMALL = (1, 64, 64, 3)


class Function(nn.Module):
    """A module that is one expression of its input, and of modules it holds."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module, constant: Any = None) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)
        self.constant = constant

    def forward(self, x: Any) -> Any:
        return self.function(x, *self.parts, *([] if self.constant is None else [self.constant]))


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Module:
    return nn.Conv2d(inputs, outputs, size, **options)


def settled(channels: int) -> nn.Module:
    """A batch norm with statistics that are not its defaults."""
    norm = nn.BatchNorm2d(channels)
    for values in (norm.weight.data, norm.running_var):
        values.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    for values in (norm.bias.data, norm.running_mean):
        values.uniform_(-1, 1)  # type: ignore[union-attr]
    return norm


def twice(combine: Callable[..., Any]) -> nn.Module:
    """A convolution whose result is read twice."""
    return Function(lambda x, convolution: combine(convolution(x)), conv(3, 5))


SCALES = torch.tensor([[[2.0]], [[-1.0]], [[0.5]]])

CASES: dict[str, Callable[[], nn.Module]] = {
    "an average that counts zero padding": lambda: Function(lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "channels one by one": lambda: Function(
        lambda x: torch.cat([x[:, i].unsqueeze(1) * (i + 1) - 0.5 for i in (0, 1, 2)], 1)
    ),
    "convolution": lambda: conv(3, 5),
    "convolution without bias": lambda: conv(3, 5, bias=False),
    "convolution with stride, dilation and padding": lambda: nn.Conv2d(
        3, 4, (3, 2), stride=(2, 1), dilation=(1, 3), padding=(1, 2)
    ),
    "grouped convolution": lambda: nn.Sequential(conv(3, 6), conv(6, 4, groups=2)),
    "depthwise convolution": lambda: nn.Sequential(conv(3, 6), conv(6, 6, groups=6)),
    "depthwise convolution with a multiplier": lambda: conv(3, 6, groups=3),
    "padding before a convolution": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 1, 0)), conv(3, 4, padding=1)),
    "two paddings": lambda: Function(
        lambda x, c: c(F.pad(F.pad(x, (1, 0, 0, 0)), (0, 1, 2, 0))), conv(3, 4, 4)
    ),
    "folded batch norm": lambda: nn.Sequential(conv(3, 5), settled(5), nn.ReLU()),
    "batch norm with nothing to fold into": lambda: nn.Sequential(settled(3), nn.ReLU()),
    "batch norm after an activation": lambda: nn.Sequential(conv(3, 5), nn.ReLU(), settled(5)),
    "batch norm without weights": lambda: nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3, affine=False)),
    "relu": lambda: nn.Sequential(conv(3, 5), nn.ReLU()),
    "relu in place": lambda: nn.Sequential(conv(3, 5), nn.ReLU(inplace=True)),
    "relu of the input": nn.ReLU,
    "relu6": lambda: nn.Sequential(conv(3, 5), nn.ReLU6()),
    "hardtanh": lambda: nn.Sequential(conv(3, 5), nn.Hardtanh(-0.3, 0.2)),
    "clamp from above": lambda: Function(lambda x, c: c(x).clamp(max=0.1), conv(3, 5)),
    "relu after relu6": lambda: nn.Sequential(conv(3, 5), nn.ReLU6(), nn.Hardtanh(0.1, 0.2)),
    "hardswish": lambda: nn.Sequential(conv(3, 5), nn.Hardswish()),
    "hardsigmoid": lambda: nn.Sequential(conv(3, 5), nn.Hardsigmoid()),
    "hardsigmoid of what is not a convolution": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Hardsigmoid()),
    "hardsigmoid of what is read twice": lambda: twice(lambda y: F.hardsigmoid(y) * y),
    "sigmoid": lambda: nn.Sequential(conv(3, 5), nn.Sigmoid()),
    "silu": lambda: nn.Sequential(conv(3, 5), nn.SiLU()),
    "residual": lambda: Function(lambda x, c: F.relu(c(x) + x), conv(3, 3, padding=1)),
    "residual in place": lambda: Function(lambda x, c: F.relu_(c(x).add_(x)), conv(3, 3, padding=1)),
    "relu of what is read twice": lambda: twice(lambda y: F.relu(y) + y),
    "what is read twice through a dropout": lambda: twice(lambda y: F.relu(F.dropout(y, training=False)) * y),
    "batch norm of what is read twice": lambda: Function(
        lambda x, c, norm: norm(y := c(x)) * y, conv(3, 5), settled(5)
    ),
    "squeeze and excitation": lambda: Function(
        lambda x, c, d: x * F.hardsigmoid(d(F.relu(c(F.adaptive_avg_pool2d(x, 1))))),
        conv(3, 2, 1),
        conv(2, 3, 1),
    ),
    "the smaller times the larger": lambda: Function(lambda x: F.adaptive_avg_pool2d(x, 1) * x),
    "addition of a number": lambda: Function(lambda x: x + 0.5),
    "addition of a number to a convolution": lambda: Function(lambda x, c: c(x) + 0.5, conv(3, 5)),
    "numbers less an activation": lambda: Function(lambda x, ones: ones - x, constant=SCALES),
    "scaled addition": lambda: Function(lambda x, ones: torch.add(x, ones, alpha=3), constant=SCALES),
    "subtraction of a number": lambda: Function(lambda x: x - 0.5),
    "division by a number": lambda: Function(lambda x: x / 4),
    "multiplication by one number a channel": lambda: Function(lambda x, by: x * by, constant=SCALES),
    "max pooling": lambda: nn.MaxPool2d(3, 2, 1),
    "max pooling that rounds up": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "max pooling that rounds up with padding": lambda: nn.MaxPool2d(2, 2, 1, ceil_mode=True),
    "max pooling without a stride of its own": lambda: Function(lambda x: F.max_pool2d(x, (2, 3))),
    "max pooling of single elements": lambda: nn.Sequential(conv(3, 5), nn.MaxPool2d(1)),
    "average pooling": lambda: nn.AvgPool2d(2),
    "average pooling that does not count padding": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "global average": lambda: nn.AdaptiveAvgPool2d(1),
    "adaptive average to a quarter": lambda: nn.AdaptiveAvgPool2d((6, 3)),
    "adaptive average to the same size": lambda: nn.Sequential(nn.AdaptiveAvgPool2d((12, None)), nn.ReLU()),
    "mean and linear": lambda: Function(lambda x, fc: fc(x.mean([2, 3])), nn.Linear(3, 4)),
    "squeeze and linear": lambda: Function(
        lambda x, fc: fc(F.adaptive_avg_pool2d(x, 1).squeeze((2, 3))), nn.Linear(3, 4)
    ),
    "flattened picture": lambda: nn.Sequential(conv(3, 4), nn.Flatten(), nn.Linear(280, 6), nn.ReLU()),
    "view": lambda: Function(
        lambda x, fc: fc(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)), nn.Linear(3, 4)
    ),
    "reshape": lambda: Function(lambda x, fc: fc(x.reshape(1, 324)), nn.Linear(324, 6, bias=False)),
    "two linear layers": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(324, 6), nn.Hardswish(), nn.Dropout(), nn.Linear(6, 2)
    ),
    "addmm": lambda: Function(
        lambda x, fc: torch.addmm(fc.bias, x.flatten(1), fc.weight.t()), nn.Linear(324, 6)
    ),
    "concatenation": lambda: Function(
        lambda x, c: torch.cat([c(x), x, F.relu(c(x))], 1), conv(3, 5, padding=1)
    ),
    "what changes nothing": lambda: Function(
        lambda x, c: c(x).contiguous().to(torch.float32).clone(), conv(3, 5)
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_plan_computes_what_its_module_does(case: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    module = CASES[case]().eval()
    x = torch.randn(1, 3, 12, 9)
    plan, blob = lower_one(module, (1, 12, 9, 3), tmp_path)
    result = evaluate(plan, blob, nhwc(x)).output.reshape(plan.tensors[plan.output].shape)
    with torch.no_grad():
        expected = module(x)
    if expected.ndim == 4:
        expected = expected.permute(0, 2, 3, 1)
    np.testing.assert_allclose(result, expected.numpy(), atol=2e-5, rtol=2e-5)


@pytest.fixture(scope="module", params=NAMES)
def network_and_files(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, Path]:
    """A network, and the directory that it was lowered into."""
    directory = tmp_path_factory.mktemp("lowered")
    return lowered(request.param, directory), directory


@pytest.mark.parametrize("engine_name", [needing(needs_native, "native"), needing(needs_xnnpack, "xnnpack")])
def test_a_network_gives_the_logits_that_eager_torch_gives(
    network_and_files: tuple[nn.Module, Path], engine_name: EngineName
) -> None:
    network, directory = network_and_files
    x = picture()
    with torch.inference_mode():
        expected = network(x).numpy().reshape(-1)
    largest = np.abs(expected).max()
    for precision, tolerance in TOLERANCES.items():
        engine = load_engine(artifact_of(directory, precision), engine_name, precision, threads=2)
        logits = engine.run(nhwc(x))
        engine.close()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance * largest)
        assert logits.argmax() == expected.argmax()


def test_activations_and_batch_norms_of_a_resnet_become_part_of_its_convolutions(tmp_path: Path) -> None:
    lowered("resnet18", tmp_path, SMALL)
    plan = decode_plan((tmp_path / "xnnpack-fp16.plan.json").read_bytes())
    assert counts(plan) == {Conv2d: 20, Arithmetic: 8, Pool2d: 1, GlobalAveragePool: 1, FullyConnected: 1}
    relus = [operation for operation in plan.operations if getattr(operation, "bounds", (None,))[0] == 0.0]
    assert len(relus) == 17
    assert plan.operations[1].name == "maxpool"
    assert plan.operations[2].name == "layer1.0.conv1"


def test_the_gates_of_a_mobilenet_cost_no_operation_of_their_own(tmp_path: Path) -> None:
    lowered("mobilenet_v3_large", tmp_path, SMALL)
    plan = decode_plan((tmp_path / "xnnpack-fp16.plan.json").read_bytes())
    kinds = {operation.kind for operation in plan.operations if isinstance(operation, Activation)}
    assert kinds == {"hardswish"}


def test_files_are_listed_with_their_size_and_hash_by_role(tmp_path: Path) -> None:
    files = lower(freeze(conv(3, 4), (1, 8, 8, 3)), input_shape=(1, 8, 8, 3), directory=tmp_path)
    assert list(files) == ["xnnpack-fp16", "xnnpack-fp32"]
    for members in files.values():
        assert [member.name.split(".", 1)[1] for member in members] == ["plan.json", "weights"]
        for member in members:
            contents = (tmp_path / member.name).read_bytes()
            assert (member.bytes, member.sha256) == (len(contents), sha256(contents).hexdigest())


def test_weights_are_halved_and_aligned(tmp_path: Path) -> None:
    module = conv(3, 40, 5)
    lower(freeze(module, (1, 8, 8, 3)), input_shape=(1, 8, 8, 3), directory=tmp_path)
    plan = decode_plan((tmp_path / "xnnpack-fp16.plan.json").read_bytes())
    constants = [tensor for tensor in plan.tensors if tensor.offset is not None]
    assert [tensor.shape for tensor in constants] == [(40, 5, 5, 3), (40,)]
    assert all(tensor.offset is not None and tensor.offset % ALIGNMENT == 0 for tensor in constants)
    assert plan.weights_bytes == (6000 + 16) + (80 + 48)  # each filled up to the next multiple


def test_a_module_that_was_saved_and_loaded_lowers_to_the_same_plan(tmp_path: Path) -> None:
    frozen = freeze(nn.Sequential(conv(3, 5), settled(5), nn.ReLU()), (1, 12, 9, 3))
    save(frozen, tmp_path / "module.pt")
    loaded = load(tmp_path / "module.pt")
    hashes = []
    for name, module in (("one", frozen), ("two", loaded)):
        (tmp_path / name).mkdir()
        files = lower(module, input_shape=(1, 12, 9, 3), directory=tmp_path / name)
        hashes.append(files["xnnpack-fp32"][1].sha256)
    assert hashes[0] == hashes[1]


ONES = torch.ones(1, 3, 3, 3)

REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unknown": (lambda x: x.cumsum(1), "aten::cumsum of 1: this operation is not known"),
    "transposed convolution": (nn.ConvTranspose2d(3, 4, 3), "aten::_convolution of 1: transposed"),
    "reflected padding": (lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), ONES), "pad"),
    "padding before pooling": (lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 2), "only known before a conv"),
    "padding at the end": (lambda x: F.pad(x, (1, 1, 1, 1)), "output is not the result of a layer"),
    "counted padding, rounded up": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), "over padding"),
    "rows of a picture": (lambda x: x[:, :, 1:], "only known where it is the whole"),
    "a channel without its axis": (lambda x: torch.relu(x[:, 0]), "where unsqueeze gives it one"),
    "dilated pooling": (lambda x: F.max_pool2d(x, 3, 1, 0, 2), "dilation"),
    "uneven average": (lambda x: F.adaptive_avg_pool2d(x, 5), "do not divide"),
    "mean of channels": (lambda x: x.mean(1), "only known over height and width"),
    "view that adds a dimension": (lambda x: F.adaptive_avg_pool2d(x, 1).view(1, 1, 3), "where it flattens"),
    "flatten from the front": (lambda x: x.flatten(0), "from the channels"),
    "joining of rows": (lambda x: torch.cat([x, x], 2), "along the channels"),
    "difference": (lambda x: x - F.relu(x), "subtracting"),
    "quotient": (lambda x: F.relu(x) / (x + 1), "dividing by an activation"),
    "constant picture": (
        lambda x: x + torch.arange(108.0).view(12, 9),
        "not one value, or one value a channel",
    ),
    "linear over columns": (lambda x: F.linear(x, torch.ones(4, 9)), "only known on a flattened"),
    "dropout in training": (lambda x: F.dropout(x, 0.5, training=True), "training mode"),
    "two results": (lambda x: (x + 1, x + 2), "prim::TupleConstruct"),
    "pooling with gaps": (lambda x: F.max_pool2d(x, 2, 3), "leaves out elements"),
    "constant result": (lambda _: torch.ones(1, 4), "output is not the result of a layer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_named_with_its_module_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    function, message = REFUSED[case]
    head = function if isinstance(function, nn.Module) else Function(function)
    module = nn.Sequential(nn.Identity(), head)
    with pytest.raises(LoweringError, match=message):
        lower_one(module.eval(), (1, 12, 9, 3), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_weight_beyond_half_precision_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    module = conv(3, 4)
    module.weight.data[0, 0, 0, 0] = 70_000.0  # type: ignore[operator]
    with pytest.raises(LoweringError, match=r"7e\+04 is beyond what fp16 can hold"):
        lower(
            freeze(module, (1, 8, 8, 3)),
            input_shape=(1, 8, 8, 3),
            directory=tmp_path,
            precisions=("fp32", "fp16"),
        )
    assert list(tmp_path.iterdir()) == []


def lower_one(module: nn.Module, shape: tuple[int, int, int, int], directory: Path) -> tuple[Plan, bytes]:
    lower(freeze(module, shape), input_shape=shape, directory=directory, precisions=("fp32",))
    plan = decode_plan((directory / "xnnpack-fp32.plan.json").read_bytes())
    return plan, (directory / "xnnpack-fp32.weights").read_bytes()


def nhwc(x: Any) -> Any:
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())


def counts(plan: Plan) -> dict[type[Operation], int]:
    kinds = [type(operation) for operation in plan.operations]
    return {kind: kinds.count(kind) for kind in kinds}

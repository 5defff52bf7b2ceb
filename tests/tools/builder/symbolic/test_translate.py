"""Archives that torch writes are lowered without it, to the plans that its own graphs become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from edge_agent.errors import ModelError
from edge_agent.inference.torchscript import deprecation_unmentioned
from edge_agent.model.plan import Conv2d, FullyConnected
from edge_agent.model.plan_file import decode_plan
from edge_agent.tools.builder.half_weights import store_weights_as_half
from edge_agent.tools.builder.lowering.lower import LoweringError
from edge_agent.tools.builder.reference import evaluate
from edge_agent.tools.builder.script import freeze
from edge_agent.tools.builder.symbolic.translate import translate_archive
from tests.tools.builder.lowering.test_lower import CASES, REFUSED, Function, conv, settled
from tests.tools.builder.networks import network
from tests.tools.builder.symbolic.made import (
    SHAPE,
    Lowered,
    by_archive,
    by_graph,
    frozen,
    saved,
    scripted,
    traced,
    unnamed,
)

SMALL = (1, 64, 64, 3)
EVERYDAY = ("resnet18", "mobilenet_v3_small", "squeezenet1_1")
OTHERS = (
    "densenet121",
    "efficientnet_b0",
    "efficientnet_lite0",
    "mnasnet0_5",
    "mobilenet_v2",
    "regnet_y_400mf",
    "resnet50",
    "resnet34",
)
NAMES = [*EVERYDAY, *(pytest.param(name, marks=pytest.mark.attack) for name in OTHERS)]


@pytest.mark.parametrize("case", CASES)
def test_a_traced_module_becomes_the_plan_of_its_graph(case: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    module = traced(nn.Sequential(CASES[case]()))
    assert by_archive(saved(module, tmp_path)) == by_graph(frozen(module, folded=False))


@pytest.mark.parametrize("case", CASES)
def test_a_frozen_module_becomes_the_plan_of_its_graph(case: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    module = frozen(traced(nn.Sequential(CASES[case]())))
    assert unnamed(by_archive(saved(module, tmp_path))) == unnamed(by_graph(module))


@pytest.mark.parametrize("name", NAMES)
def test_a_traced_network_becomes_the_plan_of_its_graph(name: str, tmp_path: Path) -> None:
    module = traced(network(name), SMALL)
    made = by_archive(saved(module, tmp_path), SMALL)
    expected = by_graph(frozen(module, folded=False), SMALL)
    assert unnamed(made) == unnamed(expected)
    if name in EVERYDAY:  # the others have an operation outside of any module
        assert made == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_scripted_network_becomes_the_plan_of_the_traced_one(name: str, tmp_path: Path) -> None:
    if name == "efficientnet_lite0":
        pytest.skip("it cannot be scripted")
    made = network(name)
    from_script = by_archive(saved(scripted(made), tmp_path), SMALL)
    from_trace = by_archive(saved(traced(made, SMALL), tmp_path), SMALL)
    assert unnamed(from_script) == unnamed(from_trace)


@pytest.mark.attack
def test_a_scripted_googlenet_leaves_its_auxiliary_classifiers_out(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision").models
    made = models.googlenet(weights=None, init_weights=False, aux_logits=True).eval()
    from_script = by_archive(saved(scripted(made), tmp_path), SMALL)
    assert unnamed(from_script) == unnamed(by_archive(saved(traced(made, SMALL), tmp_path), SMALL))


def test_half_a_network_becomes_the_fp16_plan_of_the_whole_one(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = nn.Sequential(conv(3, 8), nn.Hardswish(), conv(8, 4), nn.Flatten(), nn.Linear(160, 5))
    expected = by_archive(saved(traced(whole), tmp_path), precision="fp16")
    halved = traced(whole).half()
    assert saved(halved, tmp_path).root.attributes
    assert by_archive(saved(halved, tmp_path), precision="fp16") == expected


def test_casts_in_half_a_network_change_nothing(tmp_path: Path) -> None:
    def function(x: Any, convolution: Any) -> Any:
        return convolution(x.half().to(torch.float32)).to(x.dtype).type_as(x)

    module = traced(nn.Sequential(Function(function, conv(3, 5))))
    plan = decode_plan(by_archive(saved(module, tmp_path)).plan)
    assert [type(operation) for operation in plan.operations] == [Conv2d]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_the_files_that_a_build_writes_are_read_as_the_plans_beside_them(name: str, tmp_path: Path) -> None:
    module = freeze(network(name), SMALL)
    expected = unnamed(by_graph(module, SMALL, "fp16"))
    assert unnamed(by_archive(saved(module, tmp_path), SMALL, "fp16")) == expected
    assert store_weights_as_half(module)
    made = unnamed(by_archive(saved(module, tmp_path), SMALL, "fp16"))
    assert made.plan == expected.plan
    # What a hardsigmoid scales is rounded twice.
    weights, others = (np.frombuffer(each.weights, np.float16) for each in (made, expected))
    np.testing.assert_allclose(weights, others, rtol=2**-10, atol=1e-7)


ENDINGS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: x.softmax(1),
    "softmax, counted from the end": lambda x: F.softmax(x, dim=-1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "sigmoid": torch.sigmoid,
    "sigmoid in place": lambda x: x.sigmoid_(),
    "nothing": lambda x: x,
}


@pytest.mark.parametrize("case", ENDINGS)
def test_probabilities_at_the_end_are_left_to_the_daemon_and_said(case: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    body = [nn.Flatten(), nn.Linear(324, 4)]
    made = translate_archive(saved(traced(nn.Sequential(*body, Function(ENDINGS[case]))), tmp_path), SHAPE)
    expected = {"sigmoid": "sigmoid", "nothing": ""}.get(case.partition(" ")[0], "softmax")
    assert made.ending == expected
    assert [type(operation) for operation in made.plan.operations] == [FullyConnected]
    assert np.array_equal(made.plan.constants[2], body[1].bias.detach().numpy())  # type: ignore[operator]


def test_a_softmax_on_the_way_is_refused(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Softmax(1), nn.Linear(324, 4))
    with pytest.raises(LoweringError, match="aten::softmax of 1: this operation is only known at the end"):
        translate_archive(saved(traced(module), tmp_path), SHAPE)


def test_a_softmax_along_the_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoweringError, match=r"aten::softmax of 0: .* along the classes"):
        translate_archive(saved(traced(nn.Sequential(nn.Softmax(2))), tmp_path), SHAPE)


# torch's own words for these are about its graph, which has tuples and lists.
OTHER_WORDS = {"two results": "2 outputs", "constant result": "output is not the result of a layer"}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_named_with_its_module(case: str, tmp_path: Path) -> None:
    function, message = REFUSED[case]
    head = function if isinstance(function, nn.Module) else Function(function)
    module = traced(nn.Sequential(nn.Identity(), head))
    with pytest.raises(LoweringError, match=OTHER_WORDS.get(case, message)):
        by_archive(saved(module, tmp_path))


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "convnext_tiny", "vit_b_16"])
@pytest.mark.attack
def test_a_network_that_cannot_be_lowered_is_refused_by_an_operation_of_it(name: str, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision").models
    made = models.get_model(name, weights=None).eval()
    with pytest.raises(LoweringError, match=r"aten::(view|permute|reshape) of .*known"):
        by_archive(saved(scripted(made), tmp_path), (1, 224, 224, 3))


@pytest.mark.skipif(not torch._C._has_mkldnn, reason="this torch is without oneDNN")
def test_what_inference_was_optimised_for_has_lost_its_weights(tmp_path: Path) -> None:
    module = traced(nn.Sequential(conv(3, 8), nn.ReLU()))
    with deprecation_unmentioned():
        optimised = torch.jit.optimize_for_inference(module)
    with pytest.raises(
        ModelError, match=r"mkldnn.*has no weights, because torch\.jit\.optimize_for_inference"
    ):
        by_archive(saved(optimised, tmp_path))


def test_a_module_is_shared_and_called_twice(tmp_path: Path) -> None:
    shared = conv(3, 3, padding=1)
    module = traced(nn.Sequential(shared, nn.ReLU(), shared))
    assert unnamed(by_archive(saved(module, tmp_path))) == unnamed(by_graph(frozen(module)))


def test_a_size_that_is_asked_for_does_not_keep_operations_apart(tmp_path: Path) -> None:
    def function(x: Any, convolution: Any, linear: Any) -> Any:
        y = convolution(x)
        rows = y.size(0)
        return linear(F.relu(y).view(rows, -1))

    module = traced(nn.Sequential(Function(function, conv(3, 4), nn.Linear(280, 2))))
    made = by_archive(saved(module, tmp_path))
    assert made == by_graph(frozen(module))
    assert [type(operation) for operation in decode_plan(made.plan).operations] == [Conv2d, FullyConnected]


def answers(lowered: Lowered, picture: torch.Tensor) -> Any:
    plan = decode_plan(lowered.plan)
    nhwc = np.ascontiguousarray(picture.permute(0, 2, 3, 1).numpy())
    return evaluate(plan, lowered.weights, nhwc).output.reshape(plan.tensors[plan.output].shape)


def test_a_batch_norm_in_front_is_not_folded_into_its_neighbours_weights_twice(tmp_path: Path) -> None:
    """The same weights, read by two layers of which one is scaled."""
    torch.manual_seed(2)
    shared = conv(3, 4)
    module = nn.Sequential(Function(lambda x, c, norm: norm(c(x)) + c(x * 2.0), shared, settled(4))).eval()
    picture = torch.randn(1, 3, 12, 9)
    made = answers(by_archive(saved(traced(module), tmp_path)), picture)
    with torch.no_grad():
        np.testing.assert_allclose(made, module(picture).permute(0, 2, 3, 1).numpy(), atol=2e-5, rtol=2e-5)


class Gate(nn.Module):
    """Control flow, optional values, lists and dictionaries, as only scripting keeps them."""

    def __init__(self, rounds: int, norm: nn.Module | None) -> None:
        super().__init__()
        self.convolution = conv(4, 4, padding=1)
        self.norm = norm
        self.rounds = rounds
        self.extra: dict[str, int] = {"offset": 1}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dim() == 4, f"{x.dim()} dimensions"
        kept = [x]
        for index in range(self.rounds):
            y = self.convolution(kept[-1])
            if self.norm is not None:
                y = self.norm(y)
            if index % 2 == self.extra["offset"]:
                y = F.relu(y, inplace=True)
            elif y.shape[1] == 4:
                y = F.hardtanh(y, -1.0, 0.5)
            kept.append(y)
        total: torch.Tensor | None = None
        position = 0
        while position < len(kept):
            total = kept[position] if total is None else total + kept[position]
            position += 2
        if total is None:
            raise ValueError("nothing was kept")
        return total


class Head(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 3)
        self.dropout = nn.Dropout(0.4)

    def forward(self, x: torch.Tensor, flat: bool = True) -> tuple[torch.Tensor, torch.Tensor | None]:
        batch, channels, height, width = x.size()
        pooled = F.avg_pool2d(x, [height, width]) if batch == 1 else x
        vector = pooled.view(batch, channels) if flat else pooled
        return self.linear(self.dropout(vector)), None


@pytest.mark.parametrize("frozen_too", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_a_scripted_network_with_control_flow_computes_what_it_does(
    normed: bool, frozen_too: bool, tmp_path: Path
) -> None:
    torch.manual_seed(11)
    made = nn.Sequential(conv(3, 4), Gate(4, settled(4) if normed else None), Head(4)).eval()
    module = frozen(scripted(made)) if frozen_too else scripted(made)
    picture = torch.randn(1, 3, 12, 9)
    found = answers(by_archive(saved(module, tmp_path)), picture)
    with torch.no_grad():
        np.testing.assert_allclose(found, made(picture)[0].numpy(), atol=5e-5, rtol=5e-5)

"""The language of archives, as torch from 1.4 on prints it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_agent.model.plan import Bounds, Concat, Conv2d, FullyConnected, Pool2d
from edge_agent.tools.builder.archive.contents import ScriptObject
from edge_agent.tools.builder.lowering.plan_builder import LoweringError
from edge_agent.tools.builder.symbolic.translate import translate_archive
from tests.tools.builder.symbolic.handwritten import SHAPE, operations, value_of, weights, written

VALUES: dict[str, object] = {
    "torch.add(1, 2)": 3,
    "torch.add(1, 2, alpha=3)": 7,
    "torch.sub(1, 2.5)": -1.5,
    "torch.mul(2, 3)": 6,
    "torch.div(1, 2)": 0.5,
    "torch.floordiv(-7, 2)": -4,
    "torch.floor_divide(7, 2)": 3,
    "torch.remainder(-7, 3)": 2,
    "torch.neg(4)": -4,
    "torch.pow(2, 10)": 1024,
    "torch.__lshift__(1, 10)": 1024,
    "torch.__and__(True, False)": False,
    "torch.__not__(False)": True,
    "torch.ceil(1.2)": 2,
    "torch.sqrt(2.25)": 1.5,
    "torch.eq([1, 2], [1, 2])": True,
    "torch.ne('a', 'b')": True,
    "torch.le(2, 2.)": True,
    "torch.__is__(None, None)": True,
    "torch.__isnot__(1, None)": True,
    "torch.__contains__([1, 2], 2)": True,
    "torch.__contains__({'a': 1}, 'b')": False,
    "torch.len([1, 2, 3])": 3,
    "torch.len(x)": 1,
    "torch.size(x)": [1, 3, 12, 9],
    "torch.size(x, -1)": 9,
    "torch.dim(x)": 4,
    "torch.numel(x)": 324,
    "torch.slice([1, 2, 3, 4], 1, 3)": [2, 3],
    "torch.size(x)[2]": 12,
    "[1, 2, 3][-1]": 3,
    "torch.append([1], 2)": [1, 2],
    "torch.mul([1], 3)": [1, 1, 1],
    "torch.add([1], [2])": [1, 2],
    "torch.format('{} of {}', 1, [2])": "1 of ...",
    "torch.keys({'a': 1})": ["a"],
    "torch.__range_length(0, 10, 3)": 4,
    "ops.prim.min(3, 2)": 2,
    "ops.prim.max([3, 2])": 3,
    "ops.prim.dtype(x)": 6,
    "ops.prim.device(x)": "cpu",
    "ops.prim.is_cuda(x)": False,
    "ops.prim.requires_grad(x)": False,
    "ops.prim.NumToTensor(torch.size(x, 0))": 1,
    "torch.is_floating_point(x)": True,
    "int(2.5)": 2,
    "float(2)": 2.0,
    "bool(0)": False,
    "int(CONSTANTS)": 5,
    "annotate(List[int], [])": [],
    "annotate(Optional[Tensor], None)": None,
    "unchecked_cast(int, 3)": 3,
    "uninitialized(Tensor)": None,
    "getattr(self, '0')": 8,
    "self.number": 4,
    "(1, 'a', None)": (1, "a", None),
    "1 if torch.gt(2, 1) else 2": 1,
    "1 + 2 * 3 - 4 // 2": 5,
    "not (1 < 2 and 2 <= 2 or 3 != 3)": False,
    "-self.number": -4,
    "inf": math.inf,
    "2 in [1, 2]": True,
    "self.pair[0]": 1,
}


@pytest.mark.parametrize("expression", VALUES)
def test_an_expression_has_its_value(expression: str) -> None:
    attributes: dict[str, object] = {"number": 4, "0": 8, "pair": (1, 2), "five": np.array(5)}
    found = value_of(expression.replace("CONSTANTS", "self.five"), **attributes)
    assert found == VALUES[expression]
    assert type(found) is type(VALUES[expression])


TENSORS = {"a": weights(2, 3), "b": weights(3, seed=1), "h": weights(2, 3, seed=2).astype(np.float16)}
TENSORS |= {"n": np.array([1, 2, 3]), "s": np.array(2.0, np.float32), "i": np.array(7)}
COMPUTED = """
torch.add(a, b)
torch.add(a, b, alpha=2)
torch.sub(a, 1)
torch.sub(n, 2, alpha=2)
torch.rsub(b, 1.)
torch.mul(a, s)
torch.mul(n, 1.5)
torch.mul(n, i)
torch.div(a, b)
torch.div(n, 2)
torch.neg(a)
torch.sqrt(torch.abs(a))
torch.rsqrt(torch.exp(b))
torch.reciprocal(b)
torch.pow(b, 2)
torch.floor_divide(i, 2)
torch.remainder(i, 4)
torch.t(a)
torch.permute(a, [1, 0])
torch.transpose(a, 0, 1)
torch.reshape(a, [3, -1])
torch.flatten(torch.reshape(a, [1, 2, 3]), 1)
torch.flatten(a)
torch.unsqueeze(b, 0)
torch.squeeze(torch.unsqueeze(b, 0))
torch.squeeze(a, 0)
torch.select(a, 0, 1)
torch.select(a, 1, -1)
torch.cat([a, a], 1)
torch.cat([b, b])
torch.ones([2, 2])
torch.zeros([2], dtype=4)
torch.full([2], 3.)
torch.tensor([1., 2.])
torch.tensor(3)
torch.arange(5)
torch.arange(1, 2, 0.25)
torch.zeros_like(a)
torch.eq(n, 2)
torch.gt(a, s)
torch.clone(torch.detach(a))
"""


@pytest.mark.parametrize("expression", COMPUTED.strip().splitlines())
def test_a_constant_is_computed_as_torch_does(expression: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is not installed")
    attributes: dict[str, Any] = dict(TENSORS)
    names = {name: torch.from_numpy(value.copy()) for name, value in attributes.items()}
    expected = eval(expression.replace("dtype=4", "dtype=torch.int64"), {"torch": torch, **names})
    ours = expression
    for name in attributes:
        for before, after in (("(", ","), ("(", ")"), (" ", ","), (" ", ")"), ("[", ","), (" ", "]")):
            ours = ours.replace(f"{before}{name}{after}", f"{before}self.{name}{after}")
    found = value_of(ours, **attributes)
    assert isinstance(found, np.ndarray)
    assert not found.flags.writeable
    assert found.dtype == expected.numpy().dtype
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)


def test_half_precision_is_computed_in_single_precision() -> None:
    halves = TENSORS["h"]
    found = value_of("torch.mul(self.h, 3)", h=halves)
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, halves.astype(np.float32) * 3)


def test_a_cast_between_floating_point_types_is_left_to_the_plan() -> None:
    halves = TENSORS["h"]
    assert value_of("torch.to(self.h, 6, False, False, None)", h=halves) is halves
    assert value_of("torch.to(self.h, dtype=6)", h=halves) is halves
    rounded = value_of("torch.to(self.h, 4)", h=halves)
    assert isinstance(rounded, np.ndarray)
    assert rounded.dtype == np.int64


OLD = """
_0 = self.fc
_1 = torch._convolution(x, self.weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, False, False, True)
_2 = torch.hardtanh_(_1, 0., 6.)
_3 = torch.flatten(torch.adaptive_avg_pool2d(_2, [1, 1]), 1, -1)
"""


@pytest.mark.parametrize(
    "last",
    [
        "return torch.addmm(self.bias, _3, torch.t(_0.weight), beta=1, alpha=1)",
        "return torch.add_(torch.matmul(_3, torch.t(_0.weight)), self.bias, alpha=1)",
        "return torch.linear(_3, _0.weight, self.bias)",
    ],
)
def test_torch_1_4_wrote_layers_in_other_words(last: str) -> None:
    layer = ScriptObject("__torch__.net.Linear", {"weight": weights(2, 5)})
    archive = written(OLD + last, fc=layer, weight=weights(5, 3, 3, 3), bias=weights(2))
    made = translate_archive(archive, SHAPE)
    convolution, pool, linear = made.plan.operations
    assert isinstance(convolution, Conv2d)
    assert convolution.bounds == Bounds(0, 6)
    assert isinstance(linear, FullyConnected)
    assert np.array_equal(made.plan.constants[linear.bias], archive.root.attributes["bias"])  # type: ignore[arg-type]
    assert pool.name == "line 8 of code/__torch__/net.py"


def test_torch_1_4_put_parameters_without_default_behind_others() -> None:
    old = """def _max_pool2d(input: Tensor,
    kernel_size: List[int],
    stride: Optional[List[int]]=None,
    padding: List[int],
    ceil_mode: bool=False) -> Tensor:
  if torch.__is__(stride, None):
    stride0 = annotate(List[int], [])
  else:
    stride0 = unchecked_cast(List[int], stride)
  return torch.max_pool2d(input, kernel_size, stride0, padding, [1, 1], ceil_mode)
def adaptive_avg_pool2d(input: Tensor,
    output_size: List[int]) -> Tensor:
  _output_size = torch.list_with_default(output_size, torch.size(input))
  return torch.adaptive_avg_pool2d(input, _output_size)"""
    calls = "y = __torch__.net._max_pool2d(x, [3, 3], None, [1, 1], False, )\n"
    first, second = operations(written(calls + "return __torch__.net.adaptive_avg_pool2d(y, [2, None])", old))
    assert isinstance(first, Pool2d)
    assert first.padding == (1, 1, 1, 1)
    assert isinstance(second, Pool2d)
    assert second.kernel == (2, 1)


NO_GRAD = """class no_grad:
  prev : bool
  def __init__(self: __torch__.torch.autograd.grad_mode.no_grad) -> NoneType:
    self.prev = False
    return None"""


def test_a_block_without_gradients_is_evaluated() -> None:
    name = "__torch__.torch.autograd.grad_mode.no_grad"
    body = f"_0 = {name}.__new__({name})\n_1 = (_0).__init__()\nwith _0:\n  y = torch.relu(x)\nreturn y"
    archive = written(body, code={"__torch__.torch.autograd.grad_mode": NO_GRAD})
    assert len(operations(archive)) == 1


POOLED = "torch.max_pool2d({}, [2, 2], [1, 1])"


def pools(body: str, *others: str) -> int:
    """How often forward pools."""
    made = operations(written(body, *others))
    assert all(isinstance(operation, Pool2d) for operation in made)
    return len(made)


def test_a_loop_runs_as_often_as_its_range_says() -> None:
    assert (
        pools("y = x\nfor i in range(torch.len([1, 2, 3])):\n  y = " + POOLED.format("y") + "\nreturn y") == 3
    )


def test_a_loop_over_a_range_with_steps() -> None:
    assert pools("y = x\nfor i in range(0, 7, 3):\n  y = " + POOLED.format("y") + "\nreturn y") == 3


def test_a_while_loop_ends_by_a_shape() -> None:
    body = "y = x\nwhile torch.gt(torch.size(y, 3), 4):\n  y = " + POOLED.format("y") + "\nreturn y"
    assert pools(body) == 5


def test_a_function_returns_from_inside_a_loop_and_a_branch() -> None:
    other = f"""def pooled(y: Tensor, often: int=2, most: int=9) -> Tensor:
  for i in range(most):
    if torch.eq(i, often):
      return y
    else:
      y = {POOLED.format("y")}
  return y"""
    assert pools("f = __torch__.net.pooled\nreturn f(x, )", other) == 2
    assert pools("return __torch__.net.pooled(x, 4)", other) == 4
    assert pools("return __torch__.net.pooled(x, most=1)", other) == 1


def test_a_method_of_a_submodule_is_found_in_the_code_of_its_class() -> None:
    inner = (
        "class Inner(Module):\n  def forward1(self,\n    y: Tensor) -> Tensor:\n    return "
        + POOLED.format("y")
    )
    archive = written(
        "return (self.inner).forward1(x, )",
        inner=ScriptObject("__torch__.deep.mangled.Inner", {}),
        code={"__torch__.deep.mangled": inner},
    )
    assert [operation.name for operation in operations(archive)] == ["inner"]


def test_a_named_tuple_is_made_read_and_returned() -> None:
    other = "class Answer(NamedTuple):\n  logits : Tensor\n  aux : Optional[Tensor]"
    made = f"a = __torch__.net.Answer({POOLED.format('x')}, None)\n"
    assert pools(made + "return a", other) == 1
    assert pools(made + "return a.logits", other) == 1
    assert pools(made + "y, z, = a\nreturn y", other) == 1


def test_a_dictionary_with_one_tensor_is_an_output() -> None:
    assert pools(f"return {{'out': {POOLED.format('x')}}}") == 1


def test_lists_are_shared_and_change_in_place() -> None:
    body = f"a = [x]\nb = a\n_0 = torch.append(b, {POOLED.format('x')})\nreturn a[1]"
    assert pools(body) == 1


def test_what_the_output_does_not_need_is_not_in_the_plan() -> None:
    assert pools(f"y = {POOLED.format('x')}\nz = torch.relu(x)\nreturn y") == 1


def test_what_is_computed_twice_is_in_the_plan_once() -> None:
    body = f"return torch.cat([{POOLED.format('x')}, {POOLED.format('x')}], 1)"
    assert [type(each) for each in operations(written(body))] == [Pool2d, Concat]


def test_a_change_in_place_is_seen_under_every_name() -> None:
    body = "y = torch.conv2d(x, self.weight)\nz = y\n_0 = torch.relu_(z)\nreturn y"
    made = operations(written(body, weight=weights(4, 3, 1, 1)))
    assert isinstance(made[0], Conv2d)
    assert made[0].bounds == Bounds(0, math.inf)


def test_a_view_of_what_was_changed_in_place_is_refused() -> None:
    body = (
        "y = torch.max_pool2d(x, [2, 2])\nz = torch.flatten(y, 1)\n_0 = torch.relu_(y)\nreturn torch.relu(z)"
    )
    with pytest.raises(LoweringError, match="reads a view of what was changed in place"):
        operations(written(body))
    with pytest.raises(LoweringError, match="output is a view of what was changed in place"):
        operations(written(body.replace("torch.relu(z)", "z")))


def test_a_copy_in_another_precision_is_not_taken_for_what_it_was_made_of() -> None:
    body = "y = torch.max_pool2d(x, [2, 2])\nz = torch.to(y, 5)\n_0 = torch.relu_(z)\nreturn torch.add(y, z)"
    with pytest.raises(LoweringError, match="reads a view of what was changed in place"):
        operations(written(body))


def test_a_constant_that_is_changed_in_place_is_refused() -> None:
    with pytest.raises(LoweringError, match="a change of a constant in place is not known"):
        operations(written("return torch.add_(self.w, x)", w=weights(3, 1, 1)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["convolution", "linear"])
def test_a_layer_whose_weights_are_stored_in_slices_is_one_layer(kind: str, bias: bool) -> None:
    shape = (5, 3, 2, 2) if kind == "convolution" else (5, 324)
    whole = written(
        "y = torch.conv2d(x, self.a, self.b)\nreturn torch.relu(y)"
        if kind == "convolution"
        else "y = torch.linear(torch.flatten(x, 1), self.a, self.b)\nreturn torch.relu(y)",
        a=weights(*shape),
        b=weights(5) if bias else None,
    )
    a: Any = whole.root.attributes["a"]
    b: Any = whole.root.attributes["b"]
    text = whole.code["__torch__.net"].partition("y = ")[2].partition("\n")[0]
    parts = ", ".join(
        text.replace("self.a", f"torch.to(self.a{n}, 6)").replace("self.b", f"self.b{n}") for n in range(2)
    )
    axis = 1 if kind == "convolution" else -1
    sliced = written(
        f"y = torch.cat([{parts}], {axis})\nreturn torch.relu(y)",
        a0=a[:2],
        a1=a[2:],
        b0=b[:2] if bias else None,
        b1=b[2:] if bias else None,
    )
    expected, made = (translate_archive(archive, SHAPE) for archive in (whole, sliced))
    assert made.plan.operations == expected.plan.operations
    for identifier, values in expected.plan.constants.items():
        assert np.array_equal(made.plan.constants[identifier], values)


REFUSED = {
    "return torch.cumsum(x, 1)": "aten::cumsum of line 5 of code/__torch__/net.py: this operation is",
    "return ops.torchvision.nms(x, x, 0.5)": "torchvision::nms of line 5 .* is not known",
    "return torch.conv2d(x)": "aten::conv2d of .*: its argument weight is missing",
    "return torch.conv2d(x, 3)": "its argument weight is int, not Tensor",
    "return torch.relu(x, slope=1)": "its arguments are not self",
    "return torch.flatten(x, 1.5)": "its argument start_dim is float, not int",
    "return y": "line 5 of code/__torch__/net.py: the name y is not defined",
    "return self.y": "line 5 of .* __torch__.net.Net has no attribute y",
    "return (self).y(x, )": "__torch__.net.Net has no method y",
    "return __torch__.net.y(x)": "has no class __torch__.net.y",
    "return __torch__.gone.y(x)": "has no class __torch__.gone.y",
    "return __torch__.net.Net(x)": "makes an object of __torch__.net.Net",
    "return CONSTANTS.c7": "there is no constant 7",
    "return x": "the model's output is not the result of a layer",
    "return (x, x)": "2 outputs",
    "return None": "0 outputs",
    "return 3": "output is not the result of a layer",
    "y = 3": "0 outputs",
    "if x:\n  pass\nreturn x": "decides by what is in the picture",
    "if 'a':\n  pass\nreturn x": "neither true nor false",
    "if torch.gt(x, 0):\n  pass": "aten::gt of .* this operation is not known",
    "ops.prim.RaiseException('AssertionError: ')": "the model's own code refuses: AssertionError",
    "for i in [1, 2]:\n  pass": "only known over a range",
    "for i in range(1.5):\n  pass": "not made of integers",
    "a, b, = (1, 2, 3)": "takes apart what is not 2 values",
    "self.y = 3": "an assignment to Attribute is not known",
    "with x:\n  pass": "a block with a context is only known without gradients",
    "y = lambda: 3": "the expression Lambda is not known",
    "y = [i for i in x]": "the expression ListComp is not known",
    "y = b'a'": "a literal of type bytes is not known",
    "y = 1j": "a literal of type complex is not known",
    "y = ...": "a literal of type ellipsis is not known",
    "return (x).relu()": "the method relu is called on what is no module",
    "return x(x)": "it calls what is no function",
    "y = torch.add_(self.w, 1)": "aten::add_ of .* not known on constants",
    "return torch.to(x, 4)": "only known in floating-point numbers",
    "return torch.add(x, self.w, alpha=nan)": "its argument alpha is float",
    "y = 1 < 2 < 3": "a chain of comparisons",
    "y = torch.div(1, 0)": "its arguments are not those of this operation: division by zero",
    "y = [1][4]": "aten::__getitem__ of .*: its arguments are not those",
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_not_known_is_refused_with_its_place(body: str) -> None:
    with pytest.raises(LoweringError, match=REFUSED[body]):
        operations(written(body, w=weights(3)))


def test_a_network_of_two_inputs_is_refused() -> None:
    archive = written("return x")
    text = archive.code["__torch__.net"].replace("x: Tensor", "x: Tensor,\n    z: Tensor")
    two = type(archive)(archive.path, archive.root, (), {"__torch__.net": text})
    with pytest.raises(LoweringError, match="takes 2 inputs, not one"):
        operations(two)


def test_a_network_in_training_mode_is_refused() -> None:
    body = "return torch.batch_norm(x, None, None, self.w, self.w, self.training, 0.1, 1e-05, True)"
    with pytest.raises(LoweringError, match="in training mode"):
        operations(written(body, w=weights(3), training=True))

"""Which operations become one step, and which must not because something else reads what lies between."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edge_agent.inference.native.steps import Function, Kind, Operand, Step, make_steps
from edge_agent.model.plan import Activation, Arithmetic, Bounds, GlobalAveragePool, Plan
from tests.model.plans import RandomPlan


def steps_of(built: tuple[Plan, bytes]) -> list[Step]:
    return make_steps(built[0])


def kinds(steps: list[Step]) -> list[str]:
    return [step.kind.name for step in steps]


@dataclass(frozen=True)
class Shape:
    """A convolution, and the kind of step that it becomes."""

    channels: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (Shape(16, 16, 3), Kind.WINOGRAD),
        (Shape(8, 16, 3), Kind.DIRECT),
        (Shape(16, 8, 3), Kind.DIRECT),
        (Shape(16, 16, 3, stride=2), Kind.DIRECT),
        (Shape(16, 16, 3, dilation=2), Kind.DIRECT),
        (Shape(16, 16, 5), Kind.DIRECT),
        (Shape(16, 16, 1), Kind.DIRECT),
        (Shape(32, 32, 3, groups=2), Kind.DIRECT),
        (Shape(16, 16, 3, groups=16), Kind.DEPTHWISE),
        (Shape(16, 32, 3, groups=16), Kind.DIRECT),
    ],
)
def test_each_convolution_gets_the_kernel_that_suits_it(shape: Shape, kind: Kind) -> None:
    builder = RandomPlan((1, 12, 12, shape.channels))
    made = builder.conv2d(
        0,
        shape.outputs,
        (shape.kernel, shape.kernel),
        stride=(shape.stride, shape.stride),
        dilation=(shape.dilation, shape.dilation),
        groups=shape.groups,
    )
    assert [step.kind for step in steps_of(builder.build(made))] == [kind]


def test_a_convolution_of_a_single_pixel_is_a_connected_layer() -> None:
    builder = RandomPlan((1, 1, 1, 8))
    assert kinds(steps_of(builder.build(builder.conv2d(0, 4, (1, 1))))) == ["CONNECTED"]


def test_a_function_goes_into_what_makes_its_input() -> None:
    builder = RandomPlan((1, 6, 6, 4))
    swished = builder.add(Activation("swish", "hardswish", builder.conv2d(0, 8), 0))
    (step,) = steps_of(builder.build(swished))
    assert (step.kind, step.function, step.output) == (Kind.DIRECT, Function.HARDSWISH, swished)


def test_bounds_come_before_a_function_and_never_after_it() -> None:
    builder = RandomPlan((1, 6, 6, 4))
    bounded = builder.conv2d(0, 8, bounds=Bounds(0.0))
    gate = builder.add(Activation("gate", "sigmoid", bounded, 0))
    clamped = builder.add(Activation("clamp", "clamp", gate, 0, Bounds(0.2, 0.8)))
    first, second = steps_of(builder.build(clamped))
    assert (first.bounds, first.function) == (Bounds(0.0), Function.SIGMOID)
    assert (second.kind, second.bounds) == (Kind.APPLY, Bounds(0.2, 0.8))


def test_a_function_stays_apart_where_something_else_reads_its_input() -> None:
    builder = RandomPlan((1, 6, 6, 4))
    made = builder.conv2d(0, 8)
    swished = builder.add(Activation("swish", "hardswish", made, 0))
    total = builder.add(Arithmetic("sum", "add", swished, made, 0))
    assert kinds(steps_of(builder.build(total))) == ["DIRECT", "APPLY", "ADD"]


def test_a_function_stays_apart_where_its_input_is_the_networks_answer() -> None:
    builder = RandomPlan((1, 6, 6, 4))
    made = builder.conv2d(0, 8)
    builder.add(Activation("swish", "hardswish", made, 0))
    assert kinds(steps_of(builder.build(made))) == ["DIRECT", "APPLY"]


def test_a_residual_is_added_by_the_convolution_that_runs_later() -> None:
    builder = RandomPlan((1, 6, 6, 16))
    shortcut = builder.conv2d(0, 16, (1, 1))
    made = builder.conv2d(0, 16, (1, 1))
    total = builder.add(Arithmetic("sum", "add", shortcut, made, 0, Bounds(0.0)))
    first, second = steps_of(builder.build(total))
    assert first.output == shortcut
    assert (second.operand, second.other, second.bounds) == (Operand.SAME, shortcut, Bounds(0.0))
    assert second.output == total


@pytest.mark.parametrize("bounds", [Bounds(0.0), Bounds(-1.0, 1.0)])
def test_a_convolution_with_bounds_of_its_own_adds_no_residual(bounds: Bounds) -> None:
    builder = RandomPlan((1, 6, 6, 8))
    total = builder.add(Arithmetic("sum", "add", builder.conv2d(0, 8, (1, 1), bounds=bounds), 0, 0))
    assert kinds(steps_of(builder.build(total))) == ["DIRECT", "ADD"]


def test_a_tensor_added_to_itself_is_no_residual() -> None:
    builder = RandomPlan((1, 6, 6, 8))
    made = builder.conv2d(0, 8, (1, 1))
    total = builder.add(Arithmetic("twice", "add", made, made, 0))
    assert kinds(steps_of(builder.build(total))) == ["DIRECT", "ADD"]


def test_a_scale_goes_into_the_1x1_convolution_after_it() -> None:
    builder = RandomPlan((1, 6, 6, 8))
    made = builder.conv2d(0, 8, (1, 1))
    mean = builder.add(GlobalAveragePool("mean", made, 0))
    scaled = builder.add(Arithmetic("scale", "multiply", made, mean, 0))
    projected = builder.conv2d(scaled, 4, (1, 1))
    steps = steps_of(builder.build(projected))
    assert kinds(steps) == ["DIRECT", "GLOBAL_AVERAGE", "DIRECT"]
    assert (steps[-1].input, steps[-1].scale) == (made, mean)


@pytest.mark.parametrize("kernel", [(3, 3), (1, 2)])
def test_a_scale_stays_apart_before_a_larger_window(kernel: tuple[int, int]) -> None:
    builder = RandomPlan((1, 6, 6, 8))
    mean = builder.add(GlobalAveragePool("mean", 0, 0))
    scaled = builder.add(Arithmetic("scale", "multiply", 0, mean, 0))
    assert "MULTIPLY" in kinds(steps_of(builder.build(builder.conv2d(scaled, 4, kernel))))


def test_a_product_with_its_own_sigmoid_is_one_function() -> None:
    builder = RandomPlan((1, 6, 6, 4))
    made = builder.conv2d(0, 8)
    gate = builder.add(Activation("gate", "sigmoid", made, 0))
    total = builder.add(Arithmetic("silu", "multiply", gate, made, 0))
    (step,) = steps_of(builder.build(total))
    assert (step.function, step.output) == (Function.SILU, total)

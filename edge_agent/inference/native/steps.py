"""Makes a plan's operations into the engine's steps, several operations to a step where that saves a pass.

Fused are: a function or bounds into the operation before it, the addition of a residual into a convolution,
the multiplication by one value a channel (squeeze and excitation) into the 1x1 convolution after it, and
x * sigmoid(x) into one function. Each only where nothing else reads what lies between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum

from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import (
    UNBOUNDED,
    Activation,
    Arithmetic,
    Bounds,
    Concat,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Id,
    Operation,
    Pair,
    Plan,
    Pool2d,
    Tensor,
)


class Kind(IntEnum):
    """`enum native_kind`; CONCAT becomes copies, or nothing."""

    WINOGRAD = 0
    DIRECT = 1
    DEPTHWISE = 2
    CONNECTED = 3
    MAX_POOL = 4
    AVERAGE_POOL = 5
    GLOBAL_AVERAGE = 6
    ADD = 7
    MULTIPLY = 8
    APPLY = 9
    CONCAT = 10


class Function(IntEnum):
    """`enum native_function`."""

    IDENTITY = 0
    HARDSWISH = 1
    SIGMOID = 2
    SILU = 3


class Operand(IntEnum):
    """`enum native_operand`."""

    NONE = 0
    SAME = 1
    PER_CHANNEL = 2
    SINGLE = 3


_WEIGHTED = (Kind.WINOGRAD, Kind.DIRECT, Kind.DEPTHWISE, Kind.CONNECTED)
_CONVOLUTIONS = (Kind.WINOGRAD, Kind.DIRECT)
_CAN_FINISH = (*_WEIGHTED, Kind.ADD, Kind.MULTIPLY)
WINOGRAD_FROM_CHANNELS = 16
"""With fewer channels the transforms take more than they save."""


@dataclass(frozen=True, slots=True)
class Window:
    """Of a convolution or pool: vertical, horizontal; padding only where the picture begins."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    begin: Pair = (0, 0)


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a kernel; numbers are tensors of the plan."""

    kind: Kind
    name: str
    inputs: tuple[Id, ...]
    """One, but for CONCAT."""
    output: Id
    window: Window = Window()
    groups: int = 1
    filter: Id | None = None
    bias: Id | None = None
    operand: Operand = Operand.NONE
    other: Id | None = None
    scale: Id | None = None
    bounds: Bounds = UNBOUNDED
    function: Function = Function.IDENTITY

    @property
    def input(self) -> Id:
        return self.inputs[0]

    @property
    def reads(self) -> tuple[Id, ...]:
        """The tensors, also constants, that it reads beside its weights."""
        return (*self.inputs, *(i for i in (self.other, self.scale) if i is not None))

    @property
    def is_plain(self) -> bool:
        return self.bounds == UNBOUNDED and self.function is Function.IDENTITY


def make_steps(plan: Plan) -> list[Step]:
    """Return the steps of a verified plan, in the order in which they run."""
    steps = [_step(operation, plan.tensors) for operation in plan.operations]
    for fuse in (_fuse_silu, _fuse_functions, _fuse_scales, _fuse_residuals):
        steps = fuse(steps, plan)
    return steps


def picture_of(tensor: Tensor) -> tuple[int, int, int]:
    """A tensor of any dimensions as height, width, channels."""
    *_, height, width, channels = (1, 1, *tensor.shape)
    return height, width, channels


def _step(operation: Operation, tensors: Sequence[Tensor]) -> Step:
    name, output = operation.name, operation.output
    match operation:
        case Conv2d():
            return _convolution(operation, tensors)
        case FullyConnected(input=input_, filter=filter_, bias=bias, bounds=bounds):
            return Step(Kind.CONNECTED, name, (input_,), output, filter=filter_, bias=bias, bounds=bounds)
        case Pool2d(kind=kind, input=input_, kernel=kernel, stride=stride, padding=padding):
            window = Window(kernel, stride, (1, 1), (padding[0], padding[3]))
            return Step(
                Kind.MAX_POOL if kind == "max" else Kind.AVERAGE_POOL, name, (input_,), output, window
            )
        case GlobalAveragePool(input=input_):
            return Step(Kind.GLOBAL_AVERAGE, name, (input_,), output)
        case Arithmetic(kind=kind, left=left, right=right, bounds=bounds):
            operand = _operand(tensors[left], tensors[right])
            made = Kind.ADD if kind == "add" else Kind.MULTIPLY
            return Step(made, name, (left,), output, operand=operand, other=right, bounds=bounds)
        case Activation(kind=kind, input=input_, bounds=bounds):
            function = {"hardswish": Function.HARDSWISH, "sigmoid": Function.SIGMOID}.get(kind)
            return Step(
                Kind.APPLY, name, (input_,), output, bounds=bounds, function=function or Function.IDENTITY
            )
        case Concat(inputs=inputs):
            return Step(Kind.CONCAT, name, inputs, output)


def _convolution(operation: Conv2d, tensors: Sequence[Tensor]) -> Step:
    outputs, height, width, inputs = tensors[operation.filter].shape
    begin = (operation.padding[0], operation.padding[3])
    window = Window((height, width), operation.stride, operation.dilation, begin)
    step = Step(
        Kind.DIRECT,
        operation.name,
        (operation.input,),
        operation.output,
        window,
        operation.groups,
        operation.filter,
        operation.bias,
        bounds=operation.bounds,
    )
    one_pixel = picture_of(tensors[operation.input])[:2] == (1, 1)
    if operation.groups == 1 and one_pixel and window == Window():
        return replace(step, kind=Kind.CONNECTED)
    if operation.groups == outputs and inputs == 1 and operation.groups > 1:
        return replace(step, kind=Kind.DEPTHWISE)
    as_winograd = (
        operation.groups == 1
        and window == Window((3, 3), begin=begin)
        and inputs >= WINOGRAD_FROM_CHANNELS
        and outputs >= WINOGRAD_FROM_CHANNELS
    )
    return replace(step, kind=Kind.WINOGRAD) if as_winograd else step


def _operand(left: Tensor, right: Tensor) -> Operand:
    if right.shape == left.shape:
        return Operand.SAME
    return Operand.PER_CHANNEL if right.shape[-1] == left.shape[-1] else Operand.SINGLE


class _Uses:
    """Who makes a tensor, and how often it is read."""

    def __init__(self, steps: Sequence[Step], plan: Plan) -> None:
        self._maker = {step.output: place for place, step in enumerate(steps)}
        self._reads = Counter(identifier for step in steps for identifier in step.reads)
        self._reads[plan.output] += 1

    def sole_maker(self, identifier: Id) -> int | None:
        """The place of the step that makes it, where only one step reads it."""
        return self._maker.get(identifier) if self._reads[identifier] == 1 else None


def _fuse_silu(steps: list[Step], plan: Plan) -> list[Step]:
    uses = _Uses(steps, plan)
    fused: dict[int, Step | None] = {}
    for place, step in enumerate(steps):
        if step.kind is not Kind.MULTIPLY or step.other is None:
            continue
        for factor, gate in ((step.input, step.other), (step.other, step.input)):
            maker = uses.sole_maker(gate)
            if maker is None:
                continue
            made = steps[maker]
            is_sigmoid = made.kind is Kind.APPLY and made.function is Function.SIGMOID
            if is_sigmoid and made.input == factor and step.is_plain:
                fused |= {maker: None, place: replace(_apply(step, factor), function=Function.SILU)}
    return _replaced(steps, fused)


def _apply(step: Step, input_: Id) -> Step:
    return Step(Kind.APPLY, step.name, (input_,), step.output)


def _fuse_functions(steps: list[Step], plan: Plan) -> list[Step]:
    for place in range(len(steps)):
        step = steps[place]
        if step.kind is not Kind.APPLY:
            continue
        maker = _Uses(steps, plan).sole_maker(step.input)
        if maker is None:
            continue
        made = steps[maker]
        is_clamp = step.function is Function.IDENTITY
        fits = made.is_plain if is_clamp else made.function is Function.IDENTITY
        if made.kind in _CAN_FINISH and fits and (is_clamp or step.bounds == UNBOUNDED):
            bounds = step.bounds if is_clamp else made.bounds
            steps[maker] = replace(made, output=step.output, bounds=bounds, function=step.function)
            # The later place is where what reads the result expects it, but earlier is as good.
            steps[place] = replace(step, inputs=(step.output,))
    return [step for step in steps if step.inputs != (step.output,)]


def _fuse_scales(steps: list[Step], plan: Plan) -> list[Step]:
    uses = _Uses(steps, plan)
    fused: dict[int, Step | None] = {}
    for place, step in enumerate(steps):
        maker = uses.sole_maker(step.input)
        if maker is None or step.kind is not Kind.DIRECT or step.groups != 1 or step.window.kernel != (1, 1):
            continue
        made = steps[maker]
        is_scale = made.kind is Kind.MULTIPLY and made.operand is Operand.PER_CHANNEL and made.is_plain
        if is_scale and made.other is not None and plan.tensors[made.other].offset is None:
            fused |= {maker: None, place: replace(step, inputs=made.inputs, scale=made.other)}
    return _replaced(steps, fused)


def _fuse_residuals(steps: list[Step], plan: Plan) -> list[Step]:
    uses = _Uses(steps, plan)
    fused: dict[int, Step | None] = {}
    for place, step in enumerate(steps):
        if step.kind is not Kind.ADD or step.operand is not Operand.SAME or step.other is None:
            continue
        # The convolution that runs later, so that what it adds is there.
        for residual, sum_ in sorted(
            ((step.other, step.input), (step.input, step.other)),
            key=lambda pair: -(m if (m := uses.sole_maker(pair[1])) is not None else -1),
        ):
            maker = uses.sole_maker(sum_)
            if maker is None or maker in fused:
                continue
            made = steps[maker]
            if made.kind in _CONVOLUTIONS and made.is_plain and made.operand is Operand.NONE:
                fused |= {
                    maker: None,
                    place: replace(
                        made,
                        output=step.output,
                        operand=Operand.SAME,
                        other=residual,
                        bounds=step.bounds,
                        function=step.function,
                    ),
                }
                break
    return _replaced(steps, fused)


def _replaced(steps: Sequence[Step], fused: dict[int, Step | None]) -> list[Step]:
    """Those steps with others in the places given; None removes one."""
    changed = (fused.get(place, step) for place, step in enumerate(steps))
    return [step for step in changed if step is not None]

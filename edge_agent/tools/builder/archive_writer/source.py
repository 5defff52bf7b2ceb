"""Says a plan in TorchScript: a class with the weights as its attributes, and one operation a line.

Where the weights are stored as FP16, the arithmetic is FP32 nevertheless: few CPUs have convolutions in FP16,
and torch's own for the others are tens of times slower. Each operation converts its own weight to FP32 just
before it uses it. Two things keep that cheap:

- The weights are attributes of the module, not constants of the graph: torch's executor would convert a
  constant once and keep the FP32 copy beside the FP16 one.
- A large weight is stored in slices of output channels, each converted and used in turn, and the results
  joined. So little FP32 weight exists at any time that the allocator keeps reusing the same pages, instead of
  returning them to the system and faulting them in again at every frame.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_agent.model.plan import (
    UNBOUNDED,
    Activation,
    Arithmetic,
    Bounds,
    Concat,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Operation,
    Plan,
    Pool2d,
    Precision,
    Shape,
    Sides,
    activations_read,
)
from edge_agent.tools.builder.archive_writer.weights import (
    SMALLEST_ELEMENTS,
    Array,
    StoredTensor,
    channels_last,
    fits_half,
    plain,
    rows_in_a_slice,
)
from edge_agent.tools.builder.archive_writer.windows import axes_of, shares, torch_ceil_mode

CLASS_NAME = "__torch__.Network"

_FLOAT32 = 6  # as TorchScript numbers types
_LOWEST = float(np.finfo(np.float32).min)
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Source:
    """A module: its code, and the tensors that are its attributes, by their names."""

    code: str
    """Of the Python module `__torch__`, which has the class CLASS_NAME."""
    tensors: Mapping[str, StoredTensor]


def source_of(plan: Plan, constants: Mapping[int, Array], precision: Precision) -> Source:
    """Return the module that computes what a plan does.

    It takes an FP32 picture, NCHW in channels_last memory format, and returns one row of FP32. `constants`:
    the FP32 values of the plan's constants, by tensor. With `fp16` the larger weights are stored as FP16,
    unless they have values beyond its range.
    """
    writer = _Writer(plan, constants, half=precision == "fp16")
    for operation in plan.operations:
        writer.write(operation)
    return writer.finished()


class _Writer:
    """Writes operation by operation. A value is overwritten by what reads it last."""

    def __init__(self, plan: Plan, constants: Mapping[int, Array], *, half: bool) -> None:
        self._plan = plan
        self._constants = constants
        self._half = half
        self._lines: list[str] = []
        self._tensors: dict[str, StoredTensor] = {}
        self._names: dict[tuple[int, int, Shape], str] = {}
        """The attributes: by the constant, its first row in them, and their shape."""
        self._duplicates: Counter[str] = Counter()
        self._values = {plan.input: "x"}
        self._reads_left = Counter(
            identifier for operation in plan.operations for identifier in activations_read(operation)
        )
        self._reads_left[plan.output] += 1
        self._gates = _gates(plan.operations, self._reads_left)

    def write(self, operation: Operation) -> None:
        match operation:
            case Conv2d():
                value = self._conv2d(operation)
            case FullyConnected():
                value = self._fully_connected(operation)
            case Pool2d():
                value = self._pool2d(operation)
            case GlobalAveragePool(input=source):
                value = self._call("adaptive_avg_pool2d", self._read(source), [1, 1])
            case Arithmetic():
                value = self._arithmetic(operation)
            case Activation() if operation.output in self._gates:
                return  # part of the multiplication that follows
            case Activation():
                value = self._activation(operation)
            case Concat(inputs=inputs):
                value = self._call("cat", _listed(map(self._read, inputs)), 1)
        self._values[operation.output] = value

    def finished(self) -> Source:
        result = self._values[self._plan.output]
        if len(self._shape(self._plan.output)) == 4:
            result = self._call("flatten", result, 1)
        declared = "".join(f"  {name} : Tensor\n" for name in self._tensors)
        body = "".join(f"    {line}\n" for line in self._lines)
        code = (
            "class Network(Module):\n"
            "  __parameters__ = []\n"
            "  __buffers__ = []\n"
            "  training : bool\n"
            f"{declared}"
            f"  def forward(self: {CLASS_NAME},\n"
            "    x: Tensor) -> Tensor:\n"
            f"{body}"
            f"    return {result}\n"
        )
        return Source(code, self._tensors)

    def _conv2d(self, operation: Conv2d) -> str:
        source = self._read(operation.input)
        top, right, bottom, left = operation.padding
        padding = [top, left]
        if padding != [bottom, right]:
            source, padding = self._padded(source, operation.padding, 0.0), [0, 0]
        options = (list(operation.stride), padding, list(operation.dilation), operation.groups)
        return self._weighted(
            operation,
            channels_last(self._constants[operation.filter]),
            lambda weight, bias: self._call("conv2d", source, weight, bias, *options),
            sliced=operation.groups == 1,
        )

    def _fully_connected(self, operation: FullyConnected) -> str:
        filter_, source = self._constants[operation.filter], self._read(operation.input)
        shape = self._shape(operation.input)
        weight = plain(filter_)
        if len(shape) == 4:  # torch flattens channel by channel, a plan pixel by pixel
            source = self._call("flatten", source, 1)
            by_channel = filter_.reshape(-1, *shape[1:]).transpose(0, 3, 1, 2)
            weight = replace(weight, values=by_channel)
        return self._weighted(
            operation, weight, lambda weight, bias: self._call("linear", source, weight, bias), sliced=True
        )

    def _weighted(
        self,
        operation: Conv2d | FullyConnected,
        weight: StoredTensor,
        call: Callable[[str, str], str],
        *,
        sliced: bool,
    ) -> str:
        """Write a layer; `call` does so from the expressions for weight and bias.

        `sliced`: each output channel depends on one row of the weight alone, and on all inputs.
        """
        half = self._half and weight.elements >= SMALLEST_ELEMENTS and fits_half(weight.values)
        outputs = len(weight.values)
        rows = rows_in_a_slice(weight.elements, len(weight.values)) if half and sliced else outputs
        bias = plain(self._constants[operation.bias])
        results = []
        for first in range(0, outputs, rows):
            part = weight.rows(first, first + rows, half=half)
            filter_ = self._attribute(f"{operation.name}_weight", (operation.filter, first), part)
            biases = bias.rows(first, first + rows)
            results.append(
                call(
                    f"torch.to({filter_}, {_FLOAT32})" if half else filter_,
                    self._attribute(f"{operation.name}_bias", (operation.bias, first), biases),
                )
            )
        value = results[0] if len(results) == 1 else self._call("cat", _listed(results), 1)
        return self._bounded(value, operation.bounds)

    def _pool2d(self, operation: Pool2d) -> str:
        source = self._read(operation.input)
        axes = axes_of(operation, self._plan.tensors)
        window = (list(operation.kernel), list(operation.stride))
        padding = [axis.before for axis in axes]
        ceil_mode = torch_ceil_mode(axes)
        if ceil_mode is not None:
            if operation.kind == "max":
                return self._call("max_pool2d", source, *window, padding, [1, 1], ceil_mode)
            return self._call("avg_pool2d", source, *window, padding, ceil_mode, False)
        if operation.kind == "max":
            padded = self._padded(source, operation.padding, _LOWEST)
            return self._call("max_pool2d", padded, *window, [0, 0], [1, 1], False)
        total = self._call(
            "avg_pool2d", self._padded(source, operation.padding, 0.0), *window, [0, 0], False, True, 1
        )
        share = channels_last(shares(axes)[None, :, :, None])
        stored = self._attribute(f"{operation.name}_shares", (operation.output, 0), share)
        return self._call("mul", total, stored)

    def _arithmetic(self, operation: Arithmetic) -> str:
        for gate, source in ((operation.right, operation.left), (operation.left, operation.right)):
            if self._gates.get(gate) == source:
                self._read(source)  # for the sigmoid
                return self._bounded(self._elementwise("silu", source), operation.bounds)
        right = self._right(operation)
        function = "add" if operation.kind == "add" else "mul"
        return self._bounded(self._elementwise(function, operation.left, right), operation.bounds)

    def _right(self, operation: Arithmetic) -> str:
        """The second operand, of the first one's rank."""
        left = self._shape(operation.left)
        by_channel = (*(1 for _ in left[1:]), left[-1])
        if (values := self._constants.get(operation.right)) is None:
            right = self._read(operation.right)
            if len(self._shape(operation.right)) == len(left):
                return right
            return self._call("reshape", right, [1, left[-1], *(1 for _ in left[2:])])
        if values.size == 1:
            tensor = plain(values.reshape(1))
        elif values.shape == left:
            tensor = _as_torch_sees(values)
        else:
            tensor = _as_torch_sees(values.reshape(by_channel))
        stem = f"{operation.name}_{'term' if operation.kind == 'add' else 'factor'}"
        return self._attribute(stem, (operation.right, 0), tensor)

    def _activation(self, operation: Activation) -> str:
        if operation.kind != "clamp":
            return self._elementwise(operation.kind, operation.input)
        if operation.bounds == UNBOUNDED:
            return self._call("clone", self._read(operation.input))
        function, *arguments = _clamp(operation.bounds)
        return self._elementwise(function, operation.input, *arguments)

    def _bounded(self, value: str, bounds: Bounds) -> str:
        """Clamp a value that nothing else has read."""
        if bounds == UNBOUNDED:
            return value
        function, *arguments = _clamp(bounds)
        return self._call(f"{function}_", value, *arguments)

    def _elementwise(self, function: str, source: int, *arguments: str) -> str:
        """Compute in place what nothing reads afterwards, which is quicker and takes less memory."""
        value = self._read(source)
        in_place = not self._reads_left[source] and source != self._plan.input
        return self._call(f"{function}_" if in_place else function, value, *arguments)

    def _padded(self, source: str, padding: Sides, fill: float) -> str:
        top, right, bottom, left = padding
        return self._call("pad", source, [left, right, top, bottom], '"constant"', fill)

    def _read(self, identifier: int) -> str:
        self._reads_left[identifier] -= 1
        return self._values[identifier]

    def _call(self, function: str, *arguments: object) -> str:
        name = f"v{len(self._lines)}"
        self._lines.append(f"{name} = torch.{function}({', '.join(map(str, arguments))})")
        return name

    def _attribute(self, stem: str, place: tuple[int, int], tensor: StoredTensor) -> str:
        """Return the expression for a tensor; `place`: the constant, and the first row of it."""
        key = (*place, tensor.values.shape)
        if key not in self._names:
            name = self._names[key] = self._unused_name(_identifier(stem))
            self._tensors[name] = tensor
        return f"self.{self._names[key]}"

    def _unused_name(self, stem: str) -> str:
        name = stem
        while name in self._tensors:
            self._duplicates[stem] += 1
            name = f"{stem}_{self._duplicates[stem]}"
        return name

    def _shape(self, identifier: int) -> Shape:
        return self._plan.tensors[identifier].shape


def _gates(operations: Sequence[Operation], readers: Mapping[int, int]) -> dict[int, int]:
    """Return the sigmoids whose only reader multiplies their own input by them, which is silu."""
    gates = {
        operation.output: operation.input
        for operation in operations
        if isinstance(operation, Activation)
        and operation.kind == "sigmoid"
        and readers[operation.output] == 1
    }
    multiplied = {
        frozenset((operation.left, operation.right))
        for operation in operations
        if isinstance(operation, Arithmetic) and operation.kind == "multiply"
    }
    return {gate: source for gate, source in gates.items() if frozenset((gate, source)) in multiplied}


def _clamp(bounds: Bounds) -> tuple[str, ...]:
    """The function that clamps, and its arguments after the value."""
    if bounds == (0, math.inf):
        return ("relu",)
    return ("clamp", *(str(float(bound)) if math.isfinite(bound) else "None" for bound in bounds))


def _as_torch_sees(values: Array) -> StoredTensor:
    return channels_last(values) if values.ndim == 4 else plain(values)


def _identifier(text: str) -> str:
    """Return a name that TorchScript takes, whatever a module was called."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text[-_LONGEST_NAME:])
    return name if name[:1].isalpha() else f"layer_{name.lstrip('_')}"


def _listed(values: Iterable[str]) -> str:
    return f"[{', '.join(values)}]"

"""The arguments of operations as torch declares them: their order, types and defaults.

Since torch 1.10 the code of an archive leaves out trailing arguments that are the default.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.system.text import printable
from edge_agent.tools.builder.lowering.plan_builder import LoweringError
from edge_agent.tools.builder.symbolic.recorded import Activation

# `any` stands for Tensor or Scalar, where torch has an overload for each.
_TEXT = """
_adaptive_avg_pool2d(Tensor self, int[] output_size)
_convolution(Tensor input, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation,\
 bool transposed, int[] output_padding, int groups, bool benchmark, bool deterministic, bool cudnn_enabled,\
 bool allow_tf32=True)
adaptive_avg_pool2d(Tensor self, int[] output_size)
add(any self, any other, Scalar alpha=1)
addmm(Tensor self, Tensor mat1, Tensor mat2, Scalar beta=1, Scalar alpha=1)
alias(Tensor self)
avg_pool2d(Tensor self, int[] kernel_size, int[] stride=[], int[] padding=0, bool ceil_mode=False,\
 bool count_include_pad=True, int? divisor_override=None)
batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var,\
 bool training, float momentum, float eps, bool cudnn_enabled)
cat(Tensor[] tensors, int dim=0)
clamp(Tensor self, Scalar? min=None, Scalar? max=None)
clone(Tensor self, int? memory_format=None)
constant_pad_nd(Tensor self, int[] pad, Scalar value=0)
contiguous(Tensor self, int memory_format=0)
conv2d(Tensor input, Tensor weight, Tensor? bias=None, int[] stride=1, int[] padding=0, int[] dilation=1,\
 int groups=1)
detach(Tensor self)
div(any self, any other, str? rounding_mode=None)
dropout(Tensor input, float p, bool train)
feature_dropout(Tensor input, float p, bool train)
flatten(Tensor self, int start_dim=0, int end_dim=-1)
hardsigmoid(Tensor self)
hardswish(Tensor self)
hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1)
linear(Tensor input, Tensor weight, Tensor? bias=None)
log_softmax(Tensor self, int dim, int? dtype=None)
matmul(Tensor self, Tensor other)
max_pool2d(Tensor self, int[] kernel_size, int[] stride=[], int[] padding=0, int[] dilation=1,\
 bool ceil_mode=False)
mean(Tensor self, int[]? dim, bool keepdim=False, int? dtype=None)
mul(any self, any other)
pad(Tensor self, int[] pad, str mode="constant", float? value=None)
relu(Tensor self)
relu6(Tensor self)
reshape(Tensor self, int[] shape)
select(Tensor self, int dim, int index)
sigmoid(Tensor self)
silu(Tensor self)
slice(Tensor self, int dim=0, int? start=None, int? end=None, int step=1)
softmax(Tensor self, int dim, int? dtype=None)
squeeze(Tensor self, int[] dim=[])
sub(any self, any other, Scalar alpha=1)
unsqueeze(Tensor self, int dim)
view(Tensor self, int[] size)
"""

_LINE = re.compile(r"(\w+)\((.*)\)")


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument, its type in torch's words, and `...` where it has no default."""

    name: str
    kind: str
    default: object = ...


def bind(kind: str, arguments: Sequence[object], named: Mapping[str, object]) -> tuple[object, ...]:
    """Return every argument of the operation `kind`, in order, with its defaults; lists become tuples.

    Raises LoweringError for what the operation does not take, or is not declared here.
    """
    name = kind.removeprefix("aten::")
    declared = DECLARED.get(name) or DECLARED.get(name.removesuffix("_"))
    if declared is None:
        raise LoweringError("this operation is not known")
    names = [argument.name for argument in declared]
    given = dict(zip(names, arguments, strict=False)) | dict(named)
    if (
        len(arguments) > len(names)
        or len(given) != len(arguments) + len(named)
        or not given.keys() <= {*names}
    ):
        raise LoweringError(f"its arguments are not {', '.join(names)}")
    return tuple(_checked(argument, given.get(argument.name, argument.default)) for argument in declared)


def _checked(argument: Argument, value: object) -> object:
    if value is ...:
        raise LoweringError(f"its argument {argument.name} is missing")
    kind = argument.kind.removesuffix("?")
    if value is None and kind != argument.kind:
        return None
    if kind == "int[]" and _is_int(value):
        return (value,)
    if not _ACCEPTS[kind](value):
        found = printable(type(value).__name__, 50)
        raise LoweringError(f"its argument {argument.name} is {found}, not {argument.kind}")
    return tuple(value) if isinstance(value, list) else value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_int(value) or (isinstance(value, float) and not math.isnan(value))


def _is_tensor(value: object) -> bool:
    return isinstance(value, Activation | np.ndarray)


def _list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(check, value))


_ACCEPTS: dict[str, Callable[[object], bool]] = {
    "Scalar": _is_number,
    "Tensor": _is_tensor,
    "Tensor[]": _list_of(_is_tensor),
    "any": lambda value: _is_tensor(value) or _is_number(value),
    "bool": lambda value: isinstance(value, bool),
    "float": _is_number,
    "int": _is_int,
    "int[]": _list_of(_is_int),
    "str": lambda value: isinstance(value, str),
}


def _read(declared: str) -> dict[str, tuple[Argument, ...]]:
    found = (_LINE.fullmatch(line) for line in declared.strip().splitlines())
    return {match[1]: tuple(map(_argument, match[2].split(", "))) for match in found if match}


def _argument(text: str) -> Argument:
    kind, _, declared = text.strip().partition(" ")
    name, has_default, default = declared.partition("=")
    return Argument(name, kind, _default(kind, default)) if has_default else Argument(name, kind)


def _default(kind: str, text: str) -> object:
    value: object = ast.literal_eval(text)
    return [value] if kind == "int[]" and isinstance(value, int) else value


DECLARED = _read(_TEXT)
"""The arguments of each operation by its name, without `aten::`."""

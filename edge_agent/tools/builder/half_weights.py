"""Stores a frozen graph's weights as FP16 while its arithmetic stays FP32.

Convolutions in FP16 are not computed with `.half()`: without FP16 convolution kernels, which few CPUs have,
torch falls back to a scalar path that is tens of times slower. Here each operation converts its own weight to
FP32 just before it is used. Two things keep that cheap:

- The weights are attributes of the module, not constants of the graph: torch's executor would convert a
  constant once and keep the FP32 copy beside the FP16 one.
- A large weight is stored in slices of output channels, each converted and used in turn, and the results
  joined. So little FP32 weight exists at any time that the allocator keeps reusing the same pages, instead of
  returning them to the system and faulting them in again at every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_agent.tools.builder.archive_writer.weights import SMALLEST_ELEMENTS, rows_in_a_slice

if TYPE_CHECKING:
    import torch

_CHANNELS_DIMENSION = {"aten::_convolution": 1, "aten::conv2d": 1, "aten::linear": -1}


def store_weights_as_half(module: torch.jit.ScriptModule) -> int:
    """Rewrite a frozen FP32 module in place; returns how many weights are now stored as FP16.

    A weight with values beyond FP16's range (65504) stays FP32.
    """
    import torch

    rewriter = _Rewriter(module)
    for node in list(module.graph.nodes()):
        rewriter.rewrite(node)
    torch._C._jit_pass_dce(module.graph)
    module.graph.lint()
    return rewriter.stored


class _Rewriter:
    """Replaces the weights that nodes read, counting them."""

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        import torch

        self._module: Any = module
        self._graph: Any = module.graph
        self._self = next(self._graph.inputs())
        self._tensor_type = torch._C.TensorType.get()
        self._list_type = torch._C.ListType(self._tensor_type)
        self._attributes: dict[str, str] = {}
        self.stored = 0

    def rewrite(self, node: Any) -> None:
        for index, value in enumerate(list(node.inputs())):
            weight = self._weight_in(value)
            if weight is None:
                continue
            rows = rows_in_a_slice(weight.numel(), len(weight))
            if index == 1 and rows < weight.shape[0] and self._can_be_sliced(node):
                self._slice(node, weight, rows)
            else:
                node.replaceInput(index, self._upcast(node, weight, value.debugName()))

    def _weight_in(self, value: Any) -> torch.Tensor | None:
        if value.node().kind() != "prim::Constant" or not value.type().isSubtypeOf(self._tensor_type):
            return None
        import torch

        tensor: object = value.toIValue()
        if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32 or tensor.ndim < 2:
            return None
        if tensor.numel() < SMALLEST_ELEMENTS or not tensor.half().isfinite().all():
            return None
        return tensor

    def _can_be_sliced(self, node: Any) -> bool:
        """Whether each output channel depends on one row of the weight alone, and on all inputs."""
        if node.kind() == "aten::linear":
            return True
        if node.kind() == "aten::conv2d":
            groups = list(node.inputs())[6]
            return bool(groups.toIValue() == 1)
        if node.kind() == "aten::_convolution":
            inputs = list(node.inputs())
            transposed, groups = inputs[6], inputs[8]
            return transposed.toIValue() is False and groups.toIValue() == 1
        return False

    def _slice(self, node: Any, weight: torch.Tensor, rows: int) -> None:
        """Replace `node` by one like it for each slice of output channels, and a concatenation."""
        picture, _, bias, *options = node.inputs()
        biases = bias.toIValue()
        results = []
        for first in range(0, weight.shape[0], rows):
            part = weight[first : first + rows]
            converted = self._upcast(node, part, f"{node.output().debugName()}.{first}")
            part_bias = self._constant(node, None if biases is None else biases[first : first + rows].clone())
            results.append(self._insert(node, node.kind(), [picture, converted, part_bias, *options]))
        joined = self._join(node, results)
        node.output().replaceAllUsesWith(joined)

    def _join(self, node: Any, results: Sequence[Any]) -> Any:
        listed = self._insert(node, "prim::ListConstruct", results)
        listed.setType(self._list_type)
        return self._insert(
            node, "aten::cat", [listed, self._constant(node, _CHANNELS_DIMENSION[node.kind()])]
        )

    def _upcast(self, node: Any, weight: torch.Tensor, key: str) -> Any:
        """Insert, before `node`, the reading and conversion of a weight that is stored as FP16."""
        if key not in self._attributes:
            name = self._attributes[key] = f"half_{len(self._attributes)}"
            stored = weight.half().clone()
            self._module._c._register_attribute(name, self._tensor_type, stored)
            self.stored += 1
        half = self._graph.create("prim::GetAttr", [self._self], 1)
        half.s_("name", self._attributes[key])
        half.insertBefore(node)
        half.output().setType(self._tensor_type)
        float32 = self._constant(node, 6)  # torch.float32, as the graph numbers types
        no, none = self._constant(node, False), self._constant(node, None)
        return self._insert(node, "aten::to", [half.output(), float32, no, no, none])

    def _constant(self, node: Any, value: object) -> Any:
        self._graph.setInsertPoint(node)
        return self._graph.insertConstant(value)

    def _insert(self, node: Any, kind: str, inputs: Sequence[Any]) -> Any:
        inserted = self._graph.create(kind, list(inputs), 1)
        inserted.insertBefore(node)
        return inserted.output()

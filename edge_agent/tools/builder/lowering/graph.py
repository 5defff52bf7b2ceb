"""Translates a frozen TorchScript graph, node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_agent.model.plan import Shape
from edge_agent.tools.builder.lowering.nodes import NO_PADDING, Context, Value, handle
from edge_agent.tools.builder.lowering.plan_builder import LoweringError, PlanBuilder

if TYPE_CHECKING:
    import torch


def translate(graph: torch._C.Graph, input_shape: Shape) -> tuple[PlanBuilder, int]:
    """Return the plan, not finished yet, of a graph of one input, and the tensor of its output.

    Raises LoweringError, naming the node and the module that it came from.
    """
    return _Walk(input_shape).over(graph)


class _Walk:
    def __init__(self, input_shape: Shape) -> None:
        self._plan = PlanBuilder(input_shape)
        self._values: dict[str, Any] = {}
        self._readers: dict[int, int] = {}
        """The number of nodes that read each tensor of the plan, under any name."""

    def over(self, graph: torch._C.Graph) -> tuple[PlanBuilder, int]:
        inputs = [value for value in graph.inputs() if str(value.type()) == "Tensor"]
        outputs = list(graph.outputs())
        if len(inputs) != 1 or len(outputs) != 1:
            raise LoweringError(
                f"the model has {len(inputs)} inputs and {len(outputs)} outputs, not one of each"
            )
        self._bind(inputs[0], Value(0))
        for node in graph.nodes():
            try:
                self._translate(node)
            except LoweringError as error:
                raise LoweringError(f"{node.kind()} of {_module_name(node)}: {error}") from None
        result = self._values[outputs[0].debugName()]
        if not isinstance(result, Value) or result.padding != NO_PADDING:
            raise LoweringError("the model's output is not the result of a layer")
        return self._plan, result.tensor

    def _translate(self, node: torch._C.Node) -> None:
        if node.kind() == "prim::Constant":
            result: object = node.output().toIValue()
        else:
            arguments = [self._values[value.debugName()] for value in node.inputs()]
            result = handle(Context(self._plan, _module_name(node), self._readers), node.kind(), arguments)
        self._bind(node.output(), result)

    def _bind(self, value: torch._C.Value, result: object) -> None:
        self._values[value.debugName()] = result
        if isinstance(result, Value):
            passed_on = result.tensor in self._readers
            # Who asks for the size alone does not read what is in the tensor.
            uses = sum(use.user.kind() != "aten::size" for use in value.uses())
            self._readers[result.tensor] = self._readers.get(result.tensor, 0) + uses - passed_on


def _module_name(node: torch._C.Node) -> str:
    """The module's name in its parent (`layer1.0.conv1`), else its place in the source."""
    innermost = node.scopeName().rpartition("/")[2]
    if name := innermost.removeprefix("__module").removeprefix("."):
        return name
    # The stubs say SourceRange; it is text, with the innermost frame first.
    return str(node.sourceRange()).partition("\n")[0].strip() or "the model"

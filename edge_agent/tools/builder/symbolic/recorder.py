"""Records the operations that code calls on activations, and lowers those that the output depends on.

Whether an operation becomes part of the one before depends on who else reads what that makes. So nothing is
lowered before all of the code is evaluated. Until then a plan without weights tells the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_agent.model.plan import Shape, Tensor
from edge_agent.tools.builder.lowering.nodes import NO_PADDING, Context, Value, handle
from edge_agent.tools.builder.lowering.plan_builder import Array, LoweringError, PlanBuilder
from edge_agent.tools.builder.symbolic.budget import Budget
from edge_agent.tools.builder.symbolic.recorded import (
    ENDINGS,
    PROBABILITIES,
    Activation,
    Node,
    Parts,
    activations_in,
)
from edge_agent.tools.builder.symbolic.schemas import bind
from edge_agent.tools.builder.symbolic.slices import joined

_VIEWS = {
    "aten::alias", "aten::contiguous", "aten::detach", "aten::dropout", "aten::feature_dropout",
    "aten::flatten", "aten::reshape", "aten::squeeze", "aten::view",
}  # fmt: skip
"""Operations whose result may share its memory with their operand."""

_STEPS = 50
"""What an operation of the network takes of the budget: so there are 10,000 at the most."""


class Recorder:
    """Grows by one operation at a time."""

    def __init__(self, input_shape: Shape, budget: Budget) -> None:
        self._input_shape = input_shape
        self._budget = budget
        self._outline = _Outline(input_shape)
        self._input = Node("input", "", (), Value(0))
        self._nodes: list[Node] = []
        self._same: dict[object, Node] = {}
        """By what makes them equal: identities of operands, which the nodes keep alive."""

    def input(self) -> Activation:
        """Return the picture."""
        return Activation(self._input)

    def shape(self, activation: Activation) -> list[int]:
        """Return an activation's shape as torch sees it."""
        axes = range(2 if activation.node.outline.flat else 4)
        context = Context(self._outline, "", {})
        return [_int(handle(context, "aten::size", (activation.node.outline, axis))) for axis in axes]

    def record(
        self, kind: str, arguments: Sequence[object], named: Mapping[str, object], name: str
    ) -> Activation:
        """Add an operation on activations, and return its result. Raises LoweringError."""
        for activation in activations_in((*arguments, *named.values())):
            if activation.version != activation.memory.version:
                raise LoweringError("it reads a view of what was changed in place since")
        bound = tuple(_frozen(argument) for argument in bind(kind, arguments, named))
        node = self._node(kind, bound, name)
        operand = arguments[0]
        if kind.endswith("_"):
            if not isinstance(operand, Activation):
                raise LoweringError("a change of a constant in place is not known")
            operand.memory.version += 1
            operand.node, operand.version = node, operand.memory.version
            return operand
        if isinstance(operand, Activation) and kind in _VIEWS:
            return operand.view(node)
        return Activation(node)

    def _node(self, kind: str, bound: tuple[object, ...], name: str) -> Node:
        if whole := joined(kind, bound):
            kind, bound = whole
        key = (kind, *map(_key, bound))
        if key not in self._same:
            for constant in _arrays(bound):
                self._budget.weights(constant.shape)
            self._budget.steps(_STEPS)
            node = Node(kind, name, bound, self._outlined(kind, bound, name))
            self._same[key] = node
            self._nodes.append(node)
        return self._same[key]

    def _outlined(self, kind: str, bound: tuple[object, ...], name: str) -> Value:
        arguments = [_with_values(argument, _outline_of) for argument in bound]
        if kind in PROBABILITIES:
            return _probabilities(*arguments)
        return _lowered(Context(self._outline, name, _NeverAlone()), kind, arguments)

    def lower(self, output: Activation) -> tuple[PlanBuilder, int, str]:
        """Return the plan, the tensor of its output, and what ended the network: see `ENDINGS`, or empty.

        Raises LoweringError.
        """
        if output.version != output.memory.version:
            raise LoweringError("the model's output is a view of what was changed in place since")
        last, ending = output.node, ""
        if last.kind in ENDINGS and last.outline.flat:
            ending = ENDINGS[last.kind]
            last = next(last.reads())
        plan = PlanBuilder(self._input_shape)
        result = _Lowering(plan, self._live(last), last).values[last]
        if last is self._input or result.padding != NO_PADDING:
            raise LoweringError("the model's output is not the result of a layer")
        return plan, result.tensor, ending

    def _live(self, output: Node) -> list[Node]:
        """The input, and the operations that `output` depends on, in the order in which they were called."""
        wanted = {output}
        for node in reversed(self._nodes):
            if node in wanted:
                wanted.update(node.reads())
        return [self._input, *(node for node in self._nodes if node in wanted)]


class _Lowering:
    """The operations of a network on their way into a plan."""

    def __init__(self, plan: PlanBuilder, nodes: Sequence[Node], output: Node) -> None:
        self._plan = plan
        self.values: dict[Node, Value] = {}
        self._uses = _uses(nodes, output)
        self._readers: dict[int, int] = {}
        self._bind(nodes[0], Value(0))
        for node in nodes[1:]:
            try:
                self._bind(node, self._result(node))
            except LoweringError as error:
                raise LoweringError(f"{node.kind} of {node.name}: {error}") from None

    def _result(self, node: Node) -> Value:
        if node.kind in PROBABILITIES:
            raise LoweringError("this operation is only known at the end of a network")
        arguments = [_with_values(argument, self._value) for argument in node.arguments]
        return _lowered(Context(self._plan, node.name, self._readers), node.kind, arguments)

    def _value(self, argument: object) -> object:
        if isinstance(argument, Node):
            return self.values[argument]
        return argument.whole() if isinstance(argument, Parts) else argument

    def _bind(self, node: Node, value: Value) -> None:
        """Count the readers of a tensor under all its names: a node that only passes it on is none."""
        self.values[node] = value
        passed_on = value.tensor in self._readers
        self._readers[value.tensor] = self._readers.get(value.tensor, 0) + self._uses[node] - passed_on


def _uses(nodes: Sequence[Node], output: Node) -> dict[Node, int]:
    uses = dict.fromkeys(nodes, 0)
    for node in nodes:
        for operand in node.reads():
            uses[operand] += 1
    uses[output] += 1
    return uses


class _Outline(PlanBuilder):
    """A plan that forgets its weights."""

    def constant(self, values: Array) -> int:
        self.tensors.append(Tensor(values.shape, offset=0))
        return len(self.tensors) - 1


class _NeverAlone(dict[int, int]):
    """Readers of which there are always several: nothing is fused, and weights are not touched."""

    def get(self, _key: int, _default: Any = None) -> int:
        return 2


def _lowered(context: Context, kind: str, arguments: Sequence[object]) -> Value:
    try:
        with np.errstate(all="ignore"):  # weights that are not finite are refused when they are stored
            result = handle(context, kind, arguments)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise LoweringError(f"its arguments are not those of this operation: {error}") from None
    if not isinstance(result, Value):
        raise LoweringError("its result is not an activation")
    return result


def _probabilities(value: object, axis: object, _dtype: object) -> Value:
    if not isinstance(value, Value) or not value.flat or axis not in (1, -1):
        raise LoweringError("this operation is only known along the classes of a flattened result")
    return value


def _outline_of(argument: object) -> object:
    """A constant of the same shape that takes no memory."""
    if isinstance(argument, Node):
        return argument.outline
    if isinstance(argument, Parts | np.ndarray):
        return np.broadcast_to(np.ones((), np.float32), argument.shape)
    return argument


def _with_values(argument: object, replaced: Any) -> object:
    """An argument as a handler takes it: with lists for tuples, and what `replaced` makes of each item."""
    return [replaced(each) for each in argument] if isinstance(argument, tuple) else replaced(argument)


def _frozen(argument: object) -> object:
    if isinstance(argument, tuple):
        return tuple(map(_frozen, argument))
    return argument.node if isinstance(argument, Activation) else argument


def _key(argument: object) -> object:
    """What equal arguments share: nodes and constants by identity, numbers with their type."""
    if isinstance(argument, tuple):
        return tuple(map(_key, argument))
    if isinstance(argument, Parts):
        return _key(argument.arrays)
    if isinstance(argument, Node | np.ndarray):
        return id(argument)
    return (type(argument), argument)


def _arrays(bound: tuple[object, ...]) -> list[np.ndarray[Any, Any]]:
    members = [
        each for argument in bound for each in (argument if isinstance(argument, tuple) else (argument,))
    ]
    return [each for each in members if isinstance(each, np.ndarray)]


def _int(result: object) -> int:
    assert isinstance(result, int)
    return result

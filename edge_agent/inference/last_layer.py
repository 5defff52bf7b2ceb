"""Finds what the last layer of a TorchScript graph reads; it is given the graph, and imports no torch."""

from __future__ import annotations

from typing import Any

_INPUT_OF = {"aten::linear": 0, "aten::addmm": 1}
"""The argument that a fully connected layer reads."""
_NOTHING = ("aten::dropout", "aten::dropout_")
"""Outside of training."""
_FLATTENS = ("aten::flatten", "aten::reshape", "aten::view", "aten::squeeze")


def last_layer_reads(graph: Any) -> Any | None:
    """Return the value of a `torch.Graph` that its last fully connected layer reads, before it is flattened.

    A layer whose weights are in slices, joined at the end, counts as one. None where the graph ends in
    another operation.
    """
    outputs = list(graph.outputs())
    reads = [_read_by(node) for output in outputs for node in _slices(output.node())]
    names = {value.debugName() if value else None for value in reads}
    if len(outputs) != 1 or len(names) != 1 or (read := reads[0]) is None:
        return None
    for kinds in (_NOTHING, _FLATTENS):
        read = _argument(read.node(), 0) if read.node().kind() in kinds else read
    return read


def _slices(node: Any) -> list[Any]:
    """The layers whose answers a node joins, or the node itself."""
    if node.kind() != "aten::cat":
        return [node]
    return [value.node() for value in _argument(node, 0).node().inputs()]


def _read_by(node: Any) -> Any | None:
    place = _INPUT_OF.get(node.kind())
    return None if place is None else _argument(node, place)


def _argument(node: Any, place: int) -> Any:
    return list(node.inputs())[place]

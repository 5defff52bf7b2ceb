"""Joins a layer whose weights were stored in slices of its outputs, as half_weights writes them."""

from __future__ import annotations

import numpy as np

from edge_agent.tools.builder.symbolic.recorded import Node, Parts

_INPUT, _WEIGHT, _BIAS = 0, 1, 2
_AXES = {"aten::_convolution": (1, -3), "aten::conv2d": (1, -3), "aten::linear": (1, -1)}


def joined(kind: str, bound: tuple[object, ...]) -> tuple[str, tuple[object, ...]] | None:
    """Return the one layer, and its arguments, that a concatenation of slices of it is.

    None for everything else.
    """
    if kind != "aten::cat" or not isinstance(bound[0], tuple) or len(bound[0]) < 2:
        return None
    slices = [each for each in bound[0] if isinstance(each, Node)]
    first = slices[0] if slices else None
    if first is None or len(slices) != len(bound[0]) or bound[1] not in _AXES.get(first.kind, ()):
        return None
    if first.kind != "aten::linear" and not _whole_picture(first):
        return None
    if any(each.kind != first.kind or _others(each) != _others(first) for each in slices):
        return None
    weights = _parts([each.arguments[_WEIGHT] for each in slices])
    biases = [each.arguments[_BIAS] for each in slices]
    unbiased = all(each is None for each in biases)
    bias = None if unbiased else _parts(biases)
    if weights is None or (bias is None and not unbiased):
        return None
    return first.kind, (first.arguments[_INPUT], weights, bias, *first.arguments[_BIAS + 1 :])


def _whole_picture(convolution: Node) -> bool:
    """Whether every output channel reads all input channels."""
    if convolution.kind == "aten::conv2d":
        return convolution.arguments[6] == 1
    return convolution.arguments[6] is False and convolution.arguments[8] == 1


def _others(node: Node) -> tuple[object, ...]:
    """All arguments but weight and bias."""
    return (node.arguments[_INPUT], *node.arguments[_BIAS + 1 :])


def _parts(arrays: list[object]) -> Parts | None:
    found = tuple(each for each in arrays if isinstance(each, np.ndarray))
    if len(found) != len(arrays) or any(
        each.ndim < 1 or each.shape[1:] != found[0].shape[1:] for each in found
    ):
        return None
    return Parts(found)

"""Finds the head that a network was fine-tuned with, where it is another one than its architecture's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from edge_agent.tools.builder.modules import Module, Shape
from edge_agent.tools.builder.state_dict import Tensor

Kind = Literal["linear", "batch norm", "layer norm", "prelu", "relu", "own"]
"""`own`: a layer of the architecture's own head, left as it was."""

_ACTIVATIONS = ("PReLU", "ReLU", "ReLU6", "Hardswish", "GELU", "SiLU", "Tanh", "Sigmoid", "LeakyReLU")
_Parts = Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a head."""

    kind: Kind
    inputs: int = 0
    outputs: int = 0
    """Of a linear layer; of a normalisation both are the number of its features."""
    weights: tuple[str, ...] = ()
    """The names of its weights."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head that fits a state dict."""

    name: str
    """The module of the network that it replaces."""
    layers: Mapping[str, Layer]
    """By their names below that module, in the order in which they run; a single one has the empty name."""
    classes: int
    assumed: str
    """What the state dict does not say and is taken for granted, in words; empty for nothing."""


def find_head(network: Module, last: str, state: Mapping[str, Tensor]) -> Head | None:
    """Return the head to replace that of `network`, whose last layer is the module `last`.

    None where the network's own head fits but for the number of classes, or none can be made of the weights:
    then loading them names the keys that do not fit. A head can be made of linear layers and normalisations;
    layers without weights, such as dropout, leave no trace in a state dict and none in the answers, except
    for activations between linear layers, which are taken to be ReLU.
    """
    root = last.partition(".")[0]
    own = [key for key in network.state() if key.startswith(f"{root}.")]
    given = [key for key in state if key.startswith(f"{root}.")]
    if not given or set(given) == set(own):
        return None
    name = last
    while name != root and not _explains(name, own, given):
        name = name.rpartition(".")[0]
    parts = {key.removeprefix(f"{name}."): state[key].shape for key in given if key.startswith(f"{name}.")}
    replaced = network.at(name)
    head = _head(name, replaced, parts)
    return head if head and _features(head, replaced) == _own_features(replaced) else None


def _explains(name: str, own: Collection[str], given: Collection[str]) -> bool:
    """Whether a head that was replaced at `name` alone has these keys."""
    inside = [key for key in given if key.startswith(f"{name}.")]
    outside = {key for key in own if not key.startswith(f"{name}.")}
    return bool(inside) and outside == set(given) - set(inside)


def _head(name: str, own: Module, parts: _Parts) -> Head | None:
    if (single := _layer(parts)) is not None:
        return Head(name, {"": single}, single.outputs, "") if single.kind == "linear" else None
    children: dict[str, dict[str, Shape]] = {}
    for key, shape in parts.items():
        child, _, rest = key.partition(".")
        children.setdefault(child, {})[rest] = shape
    layers = _kept(own, children)
    for child, child_parts in children.items():
        if child not in layers and (layer := _layer(child_parts)) is not None:
            layers[child] = layer
    if set(children) - set(layers):
        return None
    numbered = all(child.isdecimal() for child in layers)
    if numbered:
        layers = dict(sorted(layers.items(), key=lambda item: int(item[0])))
    linear = [child for child, layer in layers.items() if _is_linear(layer, own, child)]
    if not linear or next(reversed(layers)) != linear[-1] or (len(linear) > 1 and not numbered):
        return None
    layers, assumed = _with_activations(layers, linear, own)
    return Head(name, layers, _outputs(layers[linear[-1]], own, linear[-1]), assumed)


def _is_linear(layer: Layer, own: Module, child: str) -> bool:
    return layer.kind == "linear" or (layer.kind == "own" and own.children[child].class_name == "Linear")


def _outputs(layer: Layer, own: Module, child: str) -> int:
    return layer.outputs or own.children[child].weights["weight"][0]


def _features(head: Head, own: Module) -> int:
    """How many features the first linear layer of a head takes."""
    for child, layer in head.layers.items():
        if layer.kind == "linear":
            return layer.inputs
        if layer.kind == "own" and (features := _own_features(own.children[child])):
            return features
    return 0


def _own_features(module: Module) -> int:
    """The same of the network's own; 0 where it has no linear layer."""
    return next((part.weights["weight"][1] for part in module.walk() if part.class_name == "Linear"), 0)


def _kept(own: Module, children: Mapping[str, _Parts]) -> dict[str, Layer]:
    """The layers at the beginning of the network's own head that were left as they are."""
    kept: dict[str, Layer] = {}
    for child, module in own.children.items():
        if module.state() != dict(children.get(child, {})):
            break
        kept[child] = Layer("own", weights=tuple(module.state()))
    return kept


def _layer(parts: _Parts) -> Layer | None:
    """The layer that has these weights; None for one that is not known."""
    shapes = {key: shape for key, shape in parts.items() if key != "num_batches_tracked"}
    weight, names = shapes.get("weight", ()), tuple(parts)
    match sorted(shapes), len(weight):
        case ((["weight"] | ["bias", "weight"]), 2):
            return Layer("linear", weight[1], weight[0], names)
        case ["bias", "running_mean", "running_var", "weight"], 1:
            return Layer("batch norm", weight[0], weight[0], names)
        case ["running_mean", "running_var"], 0:
            (features,) = shapes["running_mean"]
            return Layer("batch norm", features, features, names)
        case ["bias", "weight"], 1:
            return Layer("layer norm", weight[0], weight[0], names)
        case ["weight"], 1:
            return Layer("prelu", weight[0], weight[0], names)
    return None


def _with_activations(
    layers: Mapping[str, Layer], linear: list[str], own: Module
) -> tuple[dict[str, Layer], str]:
    """Put a ReLU behind each linear layer that is followed by a gap and another one; say so."""
    complete, added = dict(layers), []
    for first, second in pairwise(linear):
        between = [str(place) for place in range(int(first) + 1, int(second))]
        without_weights = [place for place in between if place not in complete]
        known = any(_is_activation(complete[place], own, place) for place in between if place in complete)
        if without_weights and not known:
            complete[without_weights[0]] = Layer("relu")
            added.append(without_weights[0])
    if len(linear) > 1:
        complete = dict(sorted(complete.items(), key=lambda item: int(item[0])))
    return complete, f"ReLU between its linear layers, at {', '.join(added)}" if added else ""


def _is_activation(layer: Layer, own: Module, child: str) -> bool:
    return layer.kind == "prelu" or (layer.kind == "own" and own.children[child].class_name in _ACTIVATIONS)

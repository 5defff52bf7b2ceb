"""Rebuilds the head that a network was fine-tuned with, where it is another one than its architecture's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_Parts = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Head:
    """A head that fits a state dict."""

    name: str
    """The module of the network that it replaces."""
    module: nn.Module
    classes: int
    assumed: str
    """What the state dict does not say and is taken for granted, in words; empty for nothing."""


def find_head(network: nn.Module, last: str, state: Mapping[str, Tensor]) -> Head | None:
    """Return the head to replace that of `network`, whose last layer is the module `last`.

    None where the network's own head fits but for the number of classes, or none can be made of the weights:
    then loading them names the keys that do not fit. A head can be made of linear layers and normalisations;
    layers without weights, such as dropout, leave no trace in a state dict and none in the answers, except
    for activations between linear layers, which are taken to be ReLU.
    """
    root = last.partition(".")[0]
    own = [key for key in network.state_dict() if key.startswith(f"{root}.")]
    given = [key for key in state if key.startswith(f"{root}.")]
    if not given or set(given) == set(own):
        return None
    name = last
    while name != root and not _explains(name, own, given):
        name = name.rpartition(".")[0]
    parts = {key.removeprefix(f"{name}."): state[key] for key in given if key.startswith(f"{name}.")}
    replaced = network.get_submodule(name)
    head = _head(name, replaced, parts)
    return head if head and _features(head.module) == _features(replaced) else None


def _explains(name: str, own: Collection[str], given: Collection[str]) -> bool:
    """Whether a head that was replaced at `name` alone has these keys."""
    inside = [key for key in given if key.startswith(f"{name}.")]
    outside = {key for key in own if not key.startswith(f"{name}.")}
    return bool(inside) and outside == set(given) - set(inside)


def _head(name: str, own: nn.Module, parts: _Parts) -> Head | None:
    from torch import nn

    if (single := _layer(parts)) is not None:
        return Head(name, single, single.out_features, "") if isinstance(single, nn.Linear) else None
    children: OrderedDict[str, dict[str, Tensor]] = OrderedDict()
    for key, tensor in parts.items():
        child, _, rest = key.partition(".")
        children.setdefault(child, {})[rest] = tensor
    layers = _kept(own, children)
    for child, child_parts in children.items():
        if child not in layers and (layer := _layer(child_parts)) is not None:
            layers[child] = layer
    if set(children) - set(layers):
        return None
    numbered = all(child.isdecimal() for child in layers)
    ordered = OrderedDict(
        sorted(layers.items(), key=lambda item: int(item[0])) if numbered else layers.items()
    )
    last = next(reversed(ordered.values()), None)
    linear = [child for child, layer in ordered.items() if isinstance(layer, nn.Linear)]
    if not isinstance(last, nn.Linear) or (len(linear) > 1 and not numbered):
        return None
    assumed = _add_activations(ordered, linear)
    return Head(name, nn.Sequential(ordered), last.out_features, assumed)


def _features(head: nn.Module) -> int:
    """How many features its first linear layer takes; 0 where there is none."""
    from torch import nn

    return next((layer.in_features for layer in head.modules() if isinstance(layer, nn.Linear)), 0)


def _kept(own: nn.Module, children: Mapping[str, _Parts]) -> OrderedDict[str, nn.Module]:
    """The layers at the beginning of the network's own head that were left as they are."""
    kept: OrderedDict[str, nn.Module] = OrderedDict()
    for child, module in own.named_children():
        expected = {key: tensor.shape for key, tensor in module.state_dict().items()}
        if expected != {key: tensor.shape for key, tensor in children.get(child, {}).items()}:
            break
        kept[child] = module
    return kept


def _layer(parts: _Parts) -> nn.Module | None:
    """The layer that has these weights; None for one that is not known."""
    from torch import nn

    shapes = {key: tuple(tensor.shape) for key, tensor in parts.items() if key != "num_batches_tracked"}
    weight = shapes.get("weight", ())
    match sorted(shapes), len(weight):
        case ((["weight"] | ["bias", "weight"]), 2):
            return nn.Linear(weight[1], weight[0], bias="bias" in shapes)
        case ["bias", "running_mean", "running_var", "weight"], 1:
            return nn.BatchNorm1d(weight[0])
        case ["running_mean", "running_var"], 0:
            return nn.BatchNorm1d(shapes["running_mean"][0], affine=False)
        case ["bias", "weight"], 1:
            return nn.LayerNorm(weight[0])
        case ["weight"], 1:
            return nn.PReLU(weight[0])
    return None


def _add_activations(layers: OrderedDict[str, nn.Module], linear: list[str]) -> str:
    """Put a ReLU behind each linear layer that is followed by a gap and another one; say so."""
    from torch import nn

    added = []
    if len(linear) < 2:
        return ""
    for first, second in pairwise(linear):
        between = [str(place) for place in range(int(first) + 1, int(second))]
        without_weights = [place for place in between if place not in layers]
        is_known = any(isinstance(layers.get(place), _activations()) for place in between)
        if without_weights and not is_known:
            layers[without_weights[0]] = nn.ReLU()
            added.append(without_weights[0])
    for place in sorted(layers, key=int):
        layers.move_to_end(place)
    return f"ReLU between its linear layers, at {', '.join(added)}" if added else ""


def _activations() -> tuple[type[nn.Module], ...]:
    from torch import nn

    return (nn.PReLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU)

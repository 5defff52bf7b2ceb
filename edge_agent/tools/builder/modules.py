"""A network's modules as a tree of names and shapes, the same for torch's networks and for skeletons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Module:
    """A module: its class's own name (`Linear`), its weights' shapes, and the modules in it."""

    class_name: str
    weights: Mapping[str, Shape] = field(default_factory=dict)
    children: Mapping[str, Module] = field(default_factory=dict)

    def at(self, name: str) -> Module:
        """Return the module of a dotted name; the empty one is this one. Raises KeyError."""
        module = self
        for part in filter(None, name.split(".")):
            module = module.children[part]
        return module

    def state(self) -> dict[str, Shape]:
        """The shapes of all weights, by their dotted names in a state dict."""
        return dict(self._state(""))

    def walk(self) -> Iterator[Module]:
        """This module and all in it."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def _state(self, prefix: str) -> Iterator[tuple[str, Shape]]:
        yield from ((prefix + name, shape) for name, shape in self.weights.items())
        for name, child in self.children.items():
            yield from child._state(f"{prefix}{name}.")


def modules_of(network: nn.Module) -> Module:
    """See torch's network as such a tree."""
    kept = [*network.named_parameters(recurse=False), *network.named_buffers(recurse=False)]
    known = network.state_dict().keys()
    return Module(
        type(network).__name__,
        {name: tuple(tensor.shape) for name, tensor in kept if name in known},
        {name: modules_of(child) for name, child in network.named_children()},
    )

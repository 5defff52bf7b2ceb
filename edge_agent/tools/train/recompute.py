"""Gradient checkpointing: what a part of the network computed on the way is computed again, not kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from edge_agent.errors import ModelError
from edge_agent.memory.trim import SystemLibc, tune_allocator

Checkpoint = Literal["none", "stages", "blocks"]

Chain = tuple[nn.Module, ...]
"""Modules of which each takes what the one before it gives."""


def recompute(network: nn.Module, mode: Checkpoint) -> None:
    """Have the network keep only what enters its blocks, or its stages. Its gradients stay the same.

    What is freed goes back to the system at once, which the allocator would not do by itself. The statistics
    of batch norm are updated once a step. Raises ModelError where its parts are not known.
    """
    if mode == "none":
        return
    tune_allocator(SystemLibc(), "native")
    for chain in parts_of(network, mode):
        _join(chain)


def parts_of(network: nn.Module, mode: Checkpoint) -> list[Chain]:
    """The blocks or the stages of a network, in their order."""
    if all(hasattr(network, name) for name in ("conv1", "bn1", "relu", "maxpool", "layer4")):
        stem = tuple(network.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool"))
        stages = [network.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
        inner = [(block,) for stage in stages for block in stage.children()]
        return [stem, *(inner if mode == "blocks" else [(stage,) for stage in stages])]
    blocks = list(getattr(network, "_blocks", ())) or list(
        getattr(network, "features", nn.Module()).children()
    )
    if not blocks:
        raise ModelError("the blocks of this architecture are not known: train it with --checkpoint none")
    if mode == "blocks" or hasattr(network, "_blocks"):  # whose blocks are called with more than a tensor
        return [(block,) for block in blocks]
    size = math.ceil(math.sqrt(len(blocks)))
    return [tuple(blocks[first : first + size]) for first in range(0, len(blocks), size)]


def _join(chain: Chain) -> None:
    """Let the first module do the work of all of them, and keep nothing but what enters it."""
    first, *others = chain
    run = _all_of([module.forward for module in chain])

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _still(chain)

    def kept(*given: Any, **options: Any) -> Tensor:
        result: Tensor = checkpoint(run, *given, use_reentrant=False, context_fn=contexts, **options)
        return result

    first.forward = kept
    for module in others:
        module.forward = _as_it_is


def _all_of(steps: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    first, *others = steps

    def run(*given: Any, **options: Any) -> Any:
        found = first(*given, **options)
        for step in others:
            found = step(found)
        return found

    return run


def _as_it_is(given: Any) -> Any:
    return given


@contextmanager
def _still(chain: Chain) -> Iterator[None]:
    """While it is computed again, batch norm does not count the same pictures twice."""
    norms = [each for module in chain for each in module.modules() if isinstance(each, _BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted

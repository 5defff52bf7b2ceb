"""Gradient checkpointing: what a part of the network computed on the way is computed again, not kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from edge_agent.errors import ModelError
from edge_agent.memory.trim import SystemLibc, tune_allocator
from edge_agent.tools.train.stem import lean_stem

Checkpoint = Literal["none", "stages", "blocks"]

Chain = tuple[nn.Module, ...]
"""Modules of which each takes what the one before it gives."""


def recompute(network: nn.Module, mode: Checkpoint, side: int) -> None:
    """Have the network, for squares of `side` pixels, keep only what enters its blocks, or its stages.

    Its gradients stay the same. The last blocks keep all, as many as together keep no more than the largest
    does: they have given it back before that one's turn comes, so it costs time and spares nothing to compute
    them again. What is freed goes back to the system at once, which the allocator would not do by itself.
    The statistics of batch norm are updated once a step. Raises ModelError where its parts are not known.
    """
    if mode == "none":
        return
    tune_allocator(SystemLibc(), "native")
    chains = parts_of(network, mode)
    for chain in chains[: _worth_it(_sizes(network, chains, side))]:
        if not _slim(chain):
            _join(chain)


def _worth_it(sizes: Sequence[int]) -> int:
    """How many of the chains, from the first, are to be computed again."""
    room, count = max(sizes), len(sizes)
    while count > 1 and sizes[count - 1] <= room:
        room -= sizes[count - 1]
        count -= 1
    return count


def _sizes(network: nn.Module, chains: Sequence[Chain], side: int) -> list[int]:
    """How many numbers the layers of each chain give for one picture, as far as gradients need them."""
    sizes = [0] * len(chains)
    hooks = []
    for place, chain in enumerate(chains):

        def count(module: nn.Module, _given: Any, found: Any, place: int = place) -> None:
            if isinstance(found, Tensor) and not getattr(module, "inplace", False):
                sizes[place] += found.numel()

        for each in (inner for module in chain for inner in module.modules()):
            if not list(each.children()):
                hooks.append(each.register_forward_hook(count))
    with as_it_answers(network), torch.no_grad():
        network(torch.zeros(1, 3, side, side, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    return sizes


@contextmanager
def as_it_answers(network: nn.Module) -> Iterator[None]:
    """Meanwhile no part of the network is in training, whichever was."""
    modes = [(each, each.training) for each in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode


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


def _slim(chain: Chain) -> bool:
    """Let the convolution of a ResNet's stem do the work of all its layers; False where there is none."""
    if len(chain) != 4:
        return False
    conv, norm, _relu, pool = chain
    if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
        return False
    if conv.bias is not None or norm.momentum is None:
        return False
    run, pooled = _all_of([module.forward for module in chain]), pool.forward

    def kept(given: Tensor) -> Tensor:
        if norm.training and torch.is_grad_enabled() and not given.requires_grad:
            return lean_stem(given, conv, norm, pooled)
        found: Tensor = run(given)
        return found

    _replace(chain, kept)
    return True


def _join(chain: Chain) -> None:
    """Let the first module do the work of all of them, and keep nothing but what enters it."""
    run = _all_of([module.forward for module in chain])

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _still(chain)

    def kept(*given: Any, **options: Any) -> Tensor:
        result: Tensor = checkpoint(run, *given, use_reentrant=False, context_fn=contexts, **options)
        return result

    _replace(chain, kept)


def _replace(chain: Chain, run: Callable[..., Any]) -> None:
    first, *others = chain
    first.forward = run
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

"""The mean of a network's weights over the last steps: steadier than those of the last step alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of what learns, the statistics of batch norm among it.

    These belong to the weights with which they were taken, so they are averaged as the weights are: the
    newest ones beside averaged weights would be of another network.
    """

    def __init__(self, network: nn.Module, learning: Sequence[nn.Module], horizon: float) -> None:
        """Begin with what the network has. `horizon`: over about so many steps, 1 or more; fewer at first."""
        mine = {id(each) for part in learning for each in (*part.parameters(), *part.buffers())}
        self._latest = {
            name: value
            for name, value in network.state_dict(keep_vars=True).items()
            if id(value) in mine and value.is_floating_point()
        }
        self._mean = {name: value.detach().clone() for name, value in self._latest.items()}
        self._horizon = horizon

    def update(self, step: int) -> None:
        """Take in what the network has after that step, the first of which is 1."""
        kept = min(1 - 1 / self._horizon, step / (9 + step))
        with torch.no_grad():
            for name, value in self._latest.items():
                self._mean[name].lerp_(value, 1 - kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Meanwhile the network has the average; takes the memory of its largest tensor."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state(self) -> Mapping[str, Tensor]:
        """What `load` takes."""
        return self._mean

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the average of a state on disk."""
        for name, value in self._mean.items():
            value.copy_(state[name])

    def _exchange(self) -> None:
        with torch.no_grad():
            for name, value in self._latest.items():
                latest = value.detach().clone()
                value.copy_(self._mean[name])
                self._mean[name].copy_(latest)

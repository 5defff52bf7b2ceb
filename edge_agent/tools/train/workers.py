"""Several processes that train one network, as `torchrun` starts them; and the device of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from edge_agent.errors import ModelError
from edge_agent.system.text import printable

_LONGEST_S = 900.0
"""Within which each must take part; longer than the longest that one does alone."""


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers, seen by one of them. A training by one process has one, who asks nobody."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Among those of this machine."""

    @property
    def is_writer(self) -> bool:
        """Whether this one writes files, judges and builds; exactly one does."""
        return self.rank == 0

    def device(self) -> torch.device:
        """The GPU of this worker where the machine has one, else the CPU."""
        if torch.cuda.is_available():
            return torch.device("cuda", self.local_rank % torch.cuda.device_count())
        return torch.device("cpu")

    def share(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of a step's pictures that this one takes. Raises ModelError where some would get none."""
        if len(places) < self.count:
            raise ModelError(f"{self.count} workers, and a step of {len(places)}: raise --batch")
        mine: NDArray[np.int64] = np.array_split(places, self.count)[self.rank]
        return mine

    def together(self, network: nn.Module) -> nn.Module:
        """The network, whose gradients are the mean of all workers' after a step."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)

    def alone(self, network: nn.Module) -> AbstractContextManager[None]:
        """Meanwhile gradients of what `together` gave are summed here, and not exchanged."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    def summed(self, values: Sequence[float]) -> list[float]:
        """The sum of all workers' figures, the same for all."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total)
        return [float(each) for each in total]

    def rows(self, mine: NDArray[np.float32], first: int, count: int) -> NDArray[np.float32]:
        """All of a table of so many rows, of which this one has some, from the row `first`."""
        if self.count == 1:
            return mine
        whole = torch.zeros(count, mine.shape[1])
        whole[first : first + len(mine)] = torch.from_numpy(mine)
        distributed.all_reduce(whole)
        found: NDArray[np.float32] = whole.numpy()
        return found

    def average_statistics(self, network: nn.Module) -> None:
        """Give each the mean of all workers' statistics of batch norm."""
        found = [each for each in network.buffers() if each.is_floating_point()]
        if self.count == 1 or not found:
            return
        flat = torch.cat([each.reshape(-1) for each in found])
        distributed.all_reduce(flat)
        flat.div_(self.count)
        ends = list(accumulate(each.numel() for each in found))[:-1]
        for each, value in zip(found, flat.tensor_split(ends), strict=True):
            each.copy_(value.view_as(each))

    def told(self, value: dict[str, object] | None) -> dict[str, object] | None:
        """What the writer says, for each; the others' own is not looked at."""
        if self.count == 1:
            return value
        said = [value if self.is_writer else None]
        distributed.broadcast_object_list(said)
        return said[0]

    def agree(self, identity: str) -> None:
        """Raise ModelError, for each, where not all have the same set and recipe; waits for all."""
        if self.count == 1:
            return
        found: list[str | None] = [None] * self.count
        distributed.all_gather_object(found, identity)
        others = [str(rank) for rank, each in enumerate(found) if each != found[0]]
        if others:
            raise ModelError(
                f"worker {' and '.join(others)}: another set or another recipe than worker 0: give each the"
                " same files and the same options"
            )


ALONE = Workers()


@contextmanager
def joined(environ: Mapping[str, str]) -> Iterator[Workers]:
    """Take part in what torchrun has started, which says so in the environment; alone where it has not.

    Raises ModelError where another worker ends, or no longer answers, meanwhile.
    """
    if "TORCHELASTIC_RUN_ID" not in environ:
        yield ALONE
        return
    rank, count, local_rank = (int(environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(seconds=_LONGEST_S))
    try:
        yield Workers(rank, count, local_rank)
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        raise ModelError(
            f"worker {rank} of {count}: another worker has ended or no longer answers, so this one ends; the"
            f" same command goes on from the last state ({printable(str(error))[:200]})"
        ) from error
    finally:
        distributed.destroy_process_group()


def _is_about_others(error: RuntimeError) -> bool:
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()

"""The weights blob, mapped from its file: only one operation's weights are in memory at a time."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError
from edge_agent.model.plan import DTYPES, Plan, Precision, Tensor

PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class MappedWeights:
    """The constants of a verified plan, in the type that is computed in."""

    def __init__(self, mapped: mmap.mmap, stored: Precision, computed: Precision) -> None:
        self._mapped = mapped
        self._stored = DTYPES[stored]
        self._computed = DTYPES[computed]

    @contextmanager
    def addresses(self, tensors: Sequence[Tensor]) -> Iterator[tuple[int, ...]]:
        """Yield the addresses of the constants, which are valid and in memory only inside the `with`."""
        views = [self._view(tensor) for tensor in tensors]
        if views and self._stored != self._computed:
            views = _converted(views, self._computed)
        yield tuple(view.ctypes.data for view in views)
        self._mapped.madvise(mmap.MADV_DONTNEED)

    def copy(self, tensor: Tensor, into: NDArray[Any]) -> None:
        """Write a constant's values into `into`, shape (elements,), of the type that is computed in."""
        np.copyto(into, self._view(tensor))

    def _view(self, tensor: Tensor) -> NDArray[Any]:
        return np.frombuffer(self._mapped, self._stored, tensor.elements, tensor.offset or 0)


@contextmanager
def open_weights(path: Path, plan: Plan, computed: Precision) -> Iterator[MappedWeights]:
    """Map the weights of a verified plan.

    Raises ArtifactError when the file cannot be read or is not as long as its plan says. The file must not
    be shortened while it is open: replace a model by renaming, as `edge-agent model build` does.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != plan.weights_bytes:
                raise ArtifactError(
                    f"{path} holds {size} bytes, its plan is for {plan.weights_bytes}: build the model again"
                )
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    yield MappedWeights(mapped, plan.precision, computed)
    # Only here: after an error, its traceback still holds views of the mapping, which goes away with them.
    mapped.close()


def _converted(views: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> list[NDArray[Any]]:
    # A mapping of its own, so that its pages go back to the system at once and malloc's thresholds stay.
    room = np.frombuffer(mmap.mmap(-1, sum(view.size for view in views) * dtype.itemsize, PRIVATE), dtype)
    converted = np.split(room, np.cumsum([view.size for view in views])[:-1])
    for target, view in zip(converted, views, strict=True):
        np.copyto(target, view)
    return converted

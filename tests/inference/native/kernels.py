"""Runs plans on the compiled kernels, of each kind that this CPU can run."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EngineError
from edge_agent.inference.native.engine import Kernels, make_network
from edge_agent.inference.native.library import VARIANTS, COptions, Library, Variant, open_library
from edge_agent.inference.native.packed_file import Key, open_packed
from edge_agent.model.plan import Plan

Options = COptions
EFFORT = int(os.environ.get("KERNELS_EFFORT", "1"))
"""How many times the usual number of examples to try."""


def variants_here() -> list[Variant]:
    """The compiled variants that this CPU can run."""
    here = []
    for variant in VARIANTS:
        if variant.machine != platform.machine():
            continue
        try:
            here.append(open_library(variant.name).variant)
        except EngineError:
            continue
    return here


@contextmanager
def kernels(plan: Plan, blob: bytes, library: Library, options: COptions) -> Iterator[Kernels]:
    """A plan in the kernels, its packed weights in a directory that goes away."""
    with tempfile.TemporaryDirectory() as directory:
        weights = Path(directory, "weights")
        weights.write_bytes(blob)
        network = make_network(plan, library.lanes)
        key = Key.of("test", library.lanes, network.packing)
        packed = open_packed([Path(directory)], "packed", key, plan, network.packing, lambda: weights)
        made = Kernels(network, packed, library, options)
        try:
            yield made
        finally:
            made.close()


def logits_of(
    plan: Plan,
    blob: bytes,
    picture: NDArray[np.float32],
    library: Library,
    *,
    threads: int = 1,
    shared_l2_bytes: int = 0,
    streaming: bool = False,
) -> NDArray[np.float32]:
    """The answer for one picture, and the same again for a second run."""
    options = COptions(threads, 50, shared_l2_bytes, int(streaming))
    with kernels(plan, blob, library, options) as made:
        made.run(picture)
        first = made.logits.copy()
        made.run(picture)
        assert np.array_equal(first, made.logits, equal_nan=True)
        return first

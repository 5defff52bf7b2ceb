"""Damaged steps, straight into the kernels: each is refused by a code, or does no harm.

What is looked for is a crash, so the steps are tried in a process of its own. A sanitizer makes it see more.
"""

from __future__ import annotations

import ctypes
import random
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from edge_agent.errors import EngineError
from edge_agent.inference.native.engine import describe_network, make_network
from edge_agent.inference.native.library import COptions, CTensor, open_library
from tests.inference.native.kernels import EFFORT, variants_here
from tests.installed import needs_native
from tests.model.plans import picture_for, small_plan

pytestmark = needs_native
_WILD = (
    -1,
    0,
    1,
    2,
    3,
    7,
    63,
    64,
    65,
    1 << 16,
    (1 << 20) + 1,
    (1 << 31) - 1,
    -(1 << 31),
    1 << 40,
    (1 << 63) - 1,
)


def test_damaged_steps_are_refused_or_do_no_harm() -> None:
    command = [sys.executable, "-m", __name__, str(400 * EFFORT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stdout[-100:] + done.stderr[-2000:]
    refused, ran = map(int, done.stdout.split()[-2:])
    assert refused > 100
    assert ran > 0


def _numbers(structure: ctypes.Structure) -> Iterator[tuple[ctypes.Structure, str]]:
    for name, kind, *_ in structure._fields_:
        value = getattr(structure, name)
        if isinstance(value, ctypes.Structure):
            yield from _numbers(value)
        elif kind in (ctypes.c_int32, ctypes.c_int64, ctypes.c_float):
            yield structure, name


def _try(choices: random.Random) -> bool:
    """Damage one to three numbers, and say whether the kernels took them all the same."""
    library = open_library(choices.choice(variants_here()).name)
    plan, _ = small_plan("fp32")
    network = make_network(plan, library.lanes)
    weights = np.zeros(network.packing.bytes + 64, np.uint8)
    begin = -weights.ctypes.data % 64
    described = describe_network(network, weights.ctypes.data + begin)
    targets = [pair for place in range(described.step_count) for pair in _numbers(described.steps[place])]
    for tensor in (described.picture, described.logits, described.features):
        targets += _numbers(tensor)
    for _ in range(choices.randint(1, 3)):
        structure, name = choices.choice(targets)
        before = getattr(structure, name)
        wild = choices.choice([*_WILD, int(before) + 1 if abs(before) < 1e9 else 5, float("nan")])
        try:
            setattr(structure, name, wild)
        except (TypeError, OverflowError):
            continue
    # The caller's own buffers are as long as the damaged description says, up to a limit.
    sizes = [_elements(tensor) for tensor in (described.picture, described.logits, described.features)]
    if max(sizes) > 1 << 20:
        return False
    picture, logits, features = (np.zeros(size + 64, np.float32) for size in sizes)
    picture[: picture_for(plan).size] = picture_for(plan).reshape(-1)[: picture.size]
    try:
        engine = library.create(described, COptions(choices.randint(1, 3), 10, choices.choice([0, 5000])))
    except EngineError:
        return False
    library.run(engine, picture.ctypes.data, logits.ctypes.data, features.ctypes.data)
    library.destroy(engine)
    return True


def _elements(tensor: CTensor) -> int:
    sides = (tensor.height, tensor.width, tensor.channels)
    return sides[0] * sides[1] * sides[2] if min(sides) > 0 else 0


def main(count: int) -> None:
    ran = sum(_try(random.Random(number)) for number in range(count))
    print(count - ran, ran)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""Archives whose code is written by hand: no torch is needed for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.model.plan import Operation, Shape
from edge_agent.tools.builder.archive.contents import Archive, ScriptObject
from edge_agent.tools.builder.symbolic.budget import Budget
from edge_agent.tools.builder.symbolic.evaluate import Evaluator
from edge_agent.tools.builder.symbolic.operations import Operations
from edge_agent.tools.builder.symbolic.recorder import Recorder
from edge_agent.tools.builder.symbolic.translate import translate_archive

SHAPE: Shape = (1, 12, 9, 3)


def weights(*shape: int, seed: int = 0) -> NDArray[Any]:
    """Constants as an archive has them: single precision, read-only."""
    made = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    made.flags.writeable = False
    return made


def written(body: str, *others: str, constants: Any = (), code: Any = (), **attributes: object) -> Archive:
    """An archive of one module whose `forward(self, x)` has that body.

    `others`: functions and classes beside it, in the module `__torch__.net`. `code`: further modules.
    """
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    head = "class Net(Module):\n  def forward(self: __torch__.net.Net,\n    x: Tensor) -> Tensor:\n"
    text = "\n".join(["op_version_set = 1", head + lines, *others])
    root = ScriptObject("__torch__.net.Net", dict(attributes))
    return Archive(Path("net.pt"), root, constants, {"__torch__.net": text, **dict(code)})


def operations(archive: Archive, shape: Shape = SHAPE) -> list[Operation]:
    """The plan's operations."""
    return translate_archive(archive, shape).plan.operations


def value_of(expression: str, **attributes: object) -> object:
    """What an expression of the archive's code is, with the module's attributes as `self`."""
    archive = written(f"return {expression}", **attributes)
    budget = Budget()
    recorder = Recorder(SHAPE, budget)
    evaluator = Evaluator(archive, Operations(recorder, budget), budget)
    return evaluator.method(archive.root, "forward", [recorder.input()])

"""Checks a lowered network's answers before anything is replaced: finite, and alike in FP16."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.model.plan import Plan, Precision
from edge_agent.model.plan_file import decode_plan
from edge_agent.tools.builder.archive.zipped import map_file
from edge_agent.tools.builder.reference import evaluate

LOGIT_TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2}
"""How far a logit may be from what it should be, relative to the largest logit.

FP32 differs by the order of its sums; FP16 weights are rounded to 11 bits: every torchvision classifier stays
below a tenth of these.
"""
_COARSE = 7

PlanFiles = Sequence[Path]
"""A plan's file, and its weights' file."""


def check_answers(name: str, exact_files: PlanFiles, rounded_files: PlanFiles) -> tuple[float, float]:
    """Run a made-up picture through a plan in FP32 and in FP16, by plain numpy in double precision.

    Returns the largest error of FP16's logits, and the largest logit. Raises ModelError where an answer is
    not finite, or the weights lose too much in FP16.
    """
    exact, rounded = _answer(exact_files), _answer(rounded_files)
    error, scale = float(np.abs(rounded - exact).max()), float(np.abs(exact).max())
    if not np.isfinite(scale):
        raise ModelError(
            f"{name}: its answer to a picture is not a finite number: its weights are beyond use"
        )
    if not error <= LOGIT_TOLERANCE["fp16"] * scale:  # a NaN must not pass
        raise ModelError(
            f"{name} in fp16 differs from fp32 by {error:.3g} where the largest logit is {scale:.3g}: the"
            " weights lose too much in this precision"
        )
    return error, scale


def read_plan(files: PlanFiles) -> tuple[Plan, memoryview]:
    """Return a plan, and its weights, mapped."""
    plan, weights = files
    return decode_plan(plan.read_bytes()), map_file(weights)


def probe(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Return a made-up picture: (1, height, width, 3), normalised, coarse and fine, the same each time."""
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((_COARSE, _COARSE, 3), np.float32)
    rows, columns = (np.arange(size) * _COARSE // size for size in (height, width))
    fine = random.standard_normal((height, width, 3), np.float32)
    picture: NDArray[np.float32] = coarse[rows][:, columns] + np.float32(0.2) * fine
    return picture[None]


def _answer(files: PlanFiles) -> NDArray[np.float64]:
    plan, weights = read_plan(files)
    _, height, width, _ = plan.input_shape
    with np.errstate(all="ignore"):  # what is not finite is found at the end
        return evaluate(plan, weights, probe(height, width, seed=0)).output

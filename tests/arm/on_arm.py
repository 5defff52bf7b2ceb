"""Runs on ARM, or under qemu-user as one, without torch: see `run` beside this file."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from edge_agent.inference.choice import load_engine
from edge_agent.model.plan import Precision
from edge_agent.model.sidecar import EngineName
from tests.model.plans import artifact_of

CASES = Path(os.environ["ARM_CASES"])
NAMES = sorted(path.name for path in CASES.iterdir())

TOLERANCE = {("fp32", "fp32"): 1e-4, ("fp16", "fp32"): 3e-2, ("fp16", "fp16"): 1e-1}
"""Of the logits, by the precision of weights and arithmetic, relative to the largest logit."""

_AT_HWCAP, _HWCAP_ASIMDHP = 16, 1 << 10  # elf.h, asm/hwcap.h


def cpu_has_fp16_arithmetic() -> bool:
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return bool(getauxval(_AT_HWCAP) & _HWCAP_ASIMDHP)


needs_fp16_arithmetic = pytest.mark.skipif(
    not cpu_has_fp16_arithmetic(), reason="this CPU has no FP16 arithmetic"
)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("engine_name", "precision", "asked_for"),
    [
        ("native", "fp32", "fp32"),
        ("native", "fp16", "fp32"),
        pytest.param("native", "fp16", "fp16", marks=needs_fp16_arithmetic),
        ("xnnpack", "fp32", "fp32"),
        ("xnnpack", "fp16", "fp32"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_eager_torch(
    name: str,
    engine_name: EngineName,
    precision: Precision,
    asked_for: Precision,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = np.load(CASES / name / "expected.npz")
    artifact = artifact_of(CASES / name, precision)
    engine = load_engine(artifact, engine_name, precision, threads=2, arithmetic=asked_for)
    logits = engine.run(expected["picture"])
    engine.close()

    arithmetic = engine.info.arithmetic
    largest = np.abs(expected["logits"]).max()
    difference = np.abs(logits - expected["logits"]).max() / largest
    with capsys.disabled():
        print(
            f"\n{engine_name:8} {name:20} weights {precision}, arithmetic {arithmetic}: {difference:.1e} ",
            end="",
        )
    computes_in_fp16 = engine_name == "xnnpack" and precision == "fp16" and cpu_has_fp16_arithmetic()
    assert arithmetic == ("fp16" if computes_in_fp16 else asked_for)
    assert difference < TOLERANCE[precision, arithmetic]
    assert logits.argmax() == expected["logits"].argmax()

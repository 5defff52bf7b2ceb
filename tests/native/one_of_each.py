"""Runs one operation of each type once, for valgrind: python tests/native/one_of_each.py"""

from __future__ import annotations

from edge_agent.inference.native.library import open_library
from tests.inference.native.kernels import logits_of, variants_here
from tests.model.plans import picture_for, small_plan

if __name__ == "__main__":
    for variant in variants_here():
        for precision in ("fp16", "fp32"):
            plan, blob = small_plan(precision)
            logits_of(plan, blob, picture_for(plan), open_library(variant.name), threads=2)
        print(variant.title)

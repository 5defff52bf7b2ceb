"""Runs a plan on libXNNPACK: the lean engine. No torch, and nothing to compile on the board."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from ctypes import c_void_p
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError, EngineError
from edge_agent.inference import Admit, EngineInfo, anything
from edge_agent.inference.cores import on_cores
from edge_agent.inference.xnnpack.cost import plan_cost
from edge_agent.inference.xnnpack.library import Library, UnavailableError, open_library
from edge_agent.inference.xnnpack.program import Program
from edge_agent.model.plan import Plan, PlanError, Precision
from edge_agent.model.plan_file import MAX_PLAN_BYTES, decode_plan
from edge_agent.model.sidecar import Artifact, open_role, role_of

MAX_THREADS = 64


class XnnpackEngine:
    """An `Engine` for a network with packed weights.

    Any number can be loaded; each is used by one thread at a time.
    """

    def __init__(
        self, program: Program, plan: Plan, info: EngineInfo, affinity: Sequence[int], resources: ExitStack
    ) -> None:
        """Use `load`."""
        self._program = program
        self._input, self._output, self._features = program.input, program.output, program.features
        self._input_shape = plan.input_shape
        self._logits = np.empty(plan.output_elements, np.float32)
        self._info = info
        self._affinity = affinity
        self._pinned: int | None = None
        self._resources: ExitStack | None = resources

    @classmethod
    def load(
        cls,
        artifact: Artifact,
        precision: Precision,
        *,
        threads: int,
        affinity: tuple[int, ...] = (),
        library: Path | None = None,
        admit: Admit = anything,
    ) -> XnnpackEngine:
        """Load the model's plan of that precision.

        With fp16 weights the arithmetic is fp16 where the CPU has it (ARMv8.2), else fp32; see `info`.
        `threads` is 1 to 64 and counts the thread that calls `run`; `affinity` are the cores that all of them
        may use, empty for any. `library` is the libXNNPACK to load instead of the installed one. `admit` is
        given the MB that the plan will take, before they are taken, and may raise.

        Raises ArtifactError when the model has no plan of that precision or it is damaged, EngineError when
        the library is missing, unknown, or refuses the plan.
        """
        if not 1 <= threads <= MAX_THREADS:
            raise EngineError(f"{threads} threads are asked for; the xnnpack engine takes 1 to {MAX_THREADS}")
        plan, weights = _read_plan(artifact, precision)
        admit(plan_cost(plan, _arithmetic(plan)).total_mb)
        opened = open_library(library)
        with ExitStack() as resources:
            pool = _make_pool(opened, threads, affinity, resources)
            program, arithmetic = _make_program(plan, weights, opened, pool)
            resources.callback(program.close)
            info = EngineInfo("xnnpack", precision, arithmetic, threads, opened.release.soname)
            return cls(program, plan, info, affinity, resources.pop_all())

    @property
    def info(self) -> EngineInfo:
        return self._info

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._resources is None:
            raise EngineError("the engine is closed")
        if tensor.shape != self._input_shape or tensor.dtype != np.float32:
            raise EngineError(
                f"the model takes float32 {self._input_shape}, it was given {tensor.dtype} {tensor.shape}"
            )
        self._pin_caller()
        np.copyto(self._input, tensor.reshape(-1), casting="same_kind")
        self._program.run()
        np.copyto(self._logits, self._output)
        return self._logits

    @property
    def features(self) -> NDArray[np.float32]:
        """See `Engine.features`; converted, or copied, when it is read."""
        if self._resources is None:
            raise EngineError("the engine is closed")
        return self._features.astype(np.float32)

    def close(self) -> None:
        if self._resources is not None:
            self._resources.close()
            self._resources = None

    def _pin_caller(self) -> None:
        """Pin the thread that calls `run`, which computes beside the pool's own."""
        if self._affinity and self._pinned != threading.get_native_id():
            os.sched_setaffinity(0, self._affinity)
            self._pinned = threading.get_native_id()


def _read_plan(artifact: Artifact, precision: Precision) -> tuple[Plan, Path]:
    plan_path, weights_path = open_role(artifact, role_of("xnnpack", precision))
    try:
        with plan_path.open("rb") as file:
            plan = decode_plan(file.read(MAX_PLAN_BYTES + 1))
    except OSError as error:
        raise ArtifactError(f"{plan_path} cannot be read: {error.strerror}") from error
    except PlanError as error:
        raise PlanError(f"{plan_path}: {error}") from None
    if plan.precision != precision:
        raise PlanError(f"{plan_path} is of precision {plan.precision}, its sidecar says {precision}")
    return plan, weights_path


def _make_pool(library: Library, threads: int, affinity: Sequence[int], resources: ExitStack) -> int:
    """Start a pool of `threads`: the caller of `run`, and others that inherit this thread's cores."""
    with on_cores(affinity):
        pool: int | None = library.function("pthreadpool_create", "z", c_void_p)(threads)
    if not pool:
        raise EngineError(f"a pool of {threads} threads cannot be started: the system allows no more")
    resources.callback(library.function("pthreadpool_destroy", "p", None), pool)
    return pool


def _make_program(plan: Plan, weights: Path, library: Library, pool: int) -> tuple[Program, Precision]:
    if _arithmetic(plan) == "fp16":
        try:
            return Program(plan, weights, "fp16", library, pool), "fp16"
        except UnavailableError:
            pass  # this CPU, or this release of the library, lacks an operator in fp16: compute in fp32
    return Program(plan, weights, "fp32", library, pool), "fp32"


def _arithmetic(plan: Plan) -> Precision:
    return "fp16" if plan.precision == "fp16" and _computes_in_fp16() else "fp32"


def _computes_in_fp16() -> bool:
    """Whether the library's fp16 operators compute in fp16; on x86 they convert to fp32 and back."""
    return platform.machine() == "aarch64"

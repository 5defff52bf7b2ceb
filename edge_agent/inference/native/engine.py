"""Runs a plan on the native kernels: packed weights from a mapped file, one call a picture."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EngineError
from edge_agent.inference import Admit, EngineInfo, anything
from edge_agent.inference.cores import on_cores
from edge_agent.inference.native.layout import Layout, Place, lay_out
from edge_agent.inference.native.library import (
    CNetwork,
    COptions,
    CStep,
    CTensor,
    Library,
    StepError,
    open_library,
)
from edge_agent.inference.native.packed_file import Key, PackedWeights, open_packed
from edge_agent.inference.native.packing import Packing, plan_packing
from edge_agent.inference.native.steps import Step, make_steps
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import Id, Plan, PlanError, Precision
from edge_agent.model.plan_file import MAX_PLAN_BYTES, decode_plan
from edge_agent.model.sidecar import Artifact, open_role, read_checked, role_files, role_of
from edge_agent.system.board import Board

MAX_THREADS = 64
_SPINS = 4000
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Network:
    """A plan made ready for one variant of the kernels; pure data."""

    plan: Plan
    layout: Layout
    packing: Packing
    lanes: int


def make_network(plan: Plan, lanes: int) -> Network:
    """Lower a verified plan further, to steps of kernels that pack `lanes` output channels side by side."""
    layout = lay_out(plan, make_steps(plan), lanes // 2)
    return Network(plan, layout, plan_packing(plan, layout.steps, lanes), lanes)


class Kernels:
    """A network in the kernels; its weights stay mapped as long as it is open."""

    def __init__(self, network: Network, packed: PackedWeights, library: Library, options: COptions) -> None:
        self._packed = packed
        self._library = library
        view = np.frombuffer(packed.mapped, np.uint8)
        described = describe_network(network, view.ctypes.data + packed.begin)
        plan, layout = network.plan, network.layout
        try:
            self._handle = library.create(described, options)
        except StepError as error:
            step = layout.steps[error.place]
            raise EngineError(
                f"the native engine refuses {step.kind.name.lower()} of {step.name!r}"
            ) from None
        self._view = view
        features = described.features
        self.logits = np.empty(plan.output_elements, np.float32)
        self.features = np.empty(features.height * features.width * features.channels, np.float32)

    @property
    def bytes(self) -> int:
        return self._library.bytes(self._handle)

    def run(self, picture: NDArray[np.float32], seconds: NDArray[np.float64] | None = None) -> None:
        """Fill `logits` and `features`; `seconds`, shape (steps,), takes the time of each step."""
        self._library.run(
            self._handle,
            picture.ctypes.data,
            self.logits.ctypes.data,
            self.features.ctypes.data if self.features.size else None,
            None if seconds is None else seconds.ctypes.data,
        )

    def stream(self) -> None:
        self._library.stream(self._handle)

    def close(self) -> None:
        self._library.destroy(self._handle)
        del self._view
        self._packed.mapped.close()


def describe_network(network: Network, weights: int) -> CNetwork:
    """A network as the kernels take it; `weights` is the address of its packed weights."""
    plan, layout = network.plan, network.layout
    steps = (CStep * len(layout.steps))(*(_c_step(network, step) for step in layout.steps))
    features = layout.places[layout.features] if layout.features is not None else Place(0, 0, 0, 0, 0)
    return CNetwork(
        steps,
        len(steps),
        layout.floats,
        weights,
        network.packing.bytes,
        _tensor(layout.places[plan.input]),
        _tensor(layout.places[plan.output]),
        _tensor(features),
        *astuple(layout.border),
    )


def _c_step(network: Network, step: Step) -> CStep:
    layout, packing = network.layout, network.packing
    made = CStep(
        kind=step.kind,
        function=step.function,
        operand=step.operand,
        weights_type=int(network.plan.precision == "fp16"),
        groups=step.groups,
        low=step.bounds.low,
        high=step.bounds.high,
        input=_tensor(layout.places[step.input]),
        output=_tensor(layout.places[step.output]),
    )
    window = step.window
    made.kernel_height, made.kernel_width = window.kernel
    made.stride_y, made.stride_x = window.stride
    made.dilation_y, made.dilation_x = window.dilation
    made.top, made.left = window.begin
    made.weights, made.bias = packing.weights_of(step)
    if step.other is not None:
        made.is_constant = int(step.other in packing.constants)
        made.other = (
            _constant(network, step.other) if made.is_constant else _tensor(layout.places[step.other])
        )
    if step.scale is not None:
        made.scale = _tensor(layout.places[step.scale])
    return made


def _tensor(place: Place) -> CTensor:
    return CTensor(place.offset, place.height, place.width, place.channels, place.stride)


def _constant(network: Network, identifier: Id) -> CTensor:
    *_, height, width, channels = (1, 1, *network.plan.tensors[identifier].shape)
    return CTensor(network.packing.constants[identifier] // _FLOAT_BYTES, height, width, channels, channels)


class NativeEngine:
    """An `Engine` on the native kernels.

    Any number can be loaded; each is used by one thread at a time.
    """

    def __init__(
        self,
        kernels: Kernels,
        input_shape: tuple[int, ...],
        info: EngineInfo,
        affinity: Sequence[int],
        packed: PackedWeights,
        is_streaming: bool,
    ) -> None:
        """Use `load`."""
        self._is_streaming = is_streaming
        self._kernels: Kernels | None = kernels
        self._input_shape = input_shape
        self._info = info
        self._affinity = affinity
        self._pinned: int | None = None
        self.packed = packed

    @classmethod
    def load(
        cls,
        artifact: Artifact,
        precision: Precision,
        *,
        threads: int,
        directories: Sequence[Path],
        affinity: tuple[int, ...] = (),
        room_mb: float = math.inf,
        arithmetic: Precision = "fp32",
        variant: str = "",
        admit: Admit = anything,
    ) -> NativeEngine:
        """Load the model's plan of that precision.

        `threads` is 1 to 64 and counts the thread that calls `run`; `affinity` are the cores that all of them
        may use, empty for any. The packed weights are looked for and kept in `directories`, the first that
        can be used; their pages are given back layer by layer where the network takes more than `room_mb`.
        `arithmetic` is what products are computed in; `variant` names the kernels to use instead of the
        fastest of that arithmetic that run here. `admit` is given the MB that the plan will take, before
        they are taken, and may raise.

        Raises ArtifactError when the model has no plan of that precision or it is damaged, EngineError when
        there are no kernels for this CPU.
        """
        if not 1 <= threads <= MAX_THREADS:
            raise EngineError(f"{threads} threads are asked for; the native engine takes 1 to {MAX_THREADS}")
        library = open_library(variant, arithmetic)
        plan, model = read_plan(artifact, precision)
        network = make_network(plan, library.lanes)
        activations_mb = network.layout.floats * _FLOAT_BYTES / 1e6
        weights_mb = network.packing.bytes / 1e6
        streaming = activations_mb + weights_mb > room_mb
        admit(activations_mb if streaming else activations_mb + weights_mb)
        key = Key.of(model, library.lanes, network.packing)
        packed = _open_weights(artifact, precision, plan, network.packing, key, directories)
        cores = affinity or tuple(sorted(os.sched_getaffinity(0)))
        options = COptions(
            threads=threads,
            spins=_SPINS if threads <= len(cores) else 0,
            shared_l2_bytes=Board().shared_l2_bytes(cores),
            streaming=int(streaming and packed.path is not None),
        )
        with on_cores(affinity):
            kernels = Kernels(network, packed, library, options)
        info = EngineInfo("native", precision, library.variant.arithmetic, threads, library.title)
        return cls(kernels, plan.input_shape, info, affinity, packed, bool(options.streaming))

    @property
    def info(self) -> EngineInfo:
        return self._info

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._kernels is None:
            raise EngineError("the engine is closed")
        if tensor.shape != self._input_shape or tensor.dtype != np.float32:
            raise EngineError(
                f"the model takes float32 {self._input_shape}, it was given {tensor.dtype} {tensor.shape}"
            )
        self._pin_caller()
        self._kernels.run(np.ascontiguousarray(tensor))
        return self._kernels.logits

    @property
    def features(self) -> NDArray[np.float32]:
        """See `Engine.features`."""
        if self._kernels is None:
            raise EngineError("the engine is closed")
        return self._kernels.features

    @property
    def can_stream(self) -> bool:
        """Whether `stream` would save memory: the weights are in a file, and their pages are kept."""
        return not self._is_streaming and self.packed.path is not None

    def stream(self) -> None:
        """Give weights' pages back layer by layer from the next picture on: less memory, more time.

        Nothing happens where `can_stream` is false: pages that are in no file would be lost.
        """
        if self._kernels is not None and self.can_stream:
            self._kernels.stream()
            self._is_streaming = True

    def close(self) -> None:
        if self._kernels is not None:
            self._kernels.close()
            self._kernels = None

    def _pin_caller(self) -> None:
        """Pin the thread that calls `run`, which computes beside the engine's own."""
        if self._affinity and self._pinned != threading.get_native_id():
            os.sched_setaffinity(0, self._affinity)
            self._pinned = threading.get_native_id()


def read_plan(artifact: Artifact, precision: Precision) -> tuple[Plan, str]:
    """Return the plan, and the hashes of plan and weights; the weights themselves are not read.

    Raises ArtifactError when there is none of that precision, or it is damaged.
    """
    plan_file, weights_file = role_files(artifact, role_of("native", precision))
    path = artifact.directory / plan_file.name
    contents = read_checked(path, plan_file, MAX_PLAN_BYTES)
    try:
        plan = decode_plan(contents)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None
    if plan.precision != precision:
        raise PlanError(f"{path} is of precision {plan.precision}, its sidecar says {precision}")
    return plan, f"{plan_file.sha256} {weights_file.sha256}"


def pack_model(artifact: Artifact, precision: Precision, directory: Path) -> Path:
    """Make the packed weights of a model for this machine, where they are not there yet; return their path.

    Raises ArtifactError for a damaged model, EngineError where there are no kernels for this machine or the
    file cannot be written.
    """
    library = open_library()
    plan, model = read_plan(artifact, precision)
    packing = make_network(plan, library.lanes).packing
    key = Key.of(model, library.lanes, packing)
    packed = _open_weights(artifact, precision, plan, packing, key, [directory])
    packed.mapped.close()
    if packed.path is None:
        raise EngineError(f"the packed weights cannot be written: {packed.note}")
    return packed.path


def _open_weights(
    artifact: Artifact,
    precision: Precision,
    plan: Plan,
    packing: Packing,
    key: Key,
    directories: Sequence[Path],
) -> PackedWeights:
    def find_weights() -> Path:
        return open_role(artifact, role_of("native", precision))[1]

    return open_packed(directories, key.file_name(precision), key, plan, packing, find_weights)

"""Finds the compiled kernels that this CPU can run, and calls them: a failure becomes an EngineError."""

from __future__ import annotations

import ctypes
import platform
from ctypes import POINTER, Structure, c_char_p, c_float, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from edge_agent.errors import EngineError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import Precision

ABI = 1
_CODES = {
    1: "a step is not sound",
    2: "an argument is not sound",
    3: "there is not enough memory",
    4: "the system allows no more threads",
}
BAD_STEP = 1


@dataclass(frozen=True, slots=True)
class Variant:
    """The kernels compiled for one kind of CPU."""

    name: str
    machine: str
    title: str
    arithmetic: Precision = "fp32"
    """In which it multiplies; sums, and what is kept between steps, are FP32 in both."""

    @property
    def file_name(self) -> str:
        return f"kernels-{self.name}.so"


VARIANTS = (
    Variant("x86-avx512", "x86_64", "AVX-512"),
    Variant("x86-avx2", "x86_64", "AVX2"),
    Variant("x86-sse2", "x86_64", "SSE2"),
    Variant("arm-neon", "aarch64", "NEON"),
    Variant("arm-fp16", "aarch64", "ARMv8.2 FP16", "fp16"),
)
"""For each machine and arithmetic the fastest first."""


class CTensor(Structure):
    """`struct native_tensor`."""

    _fields_ = (
        ("offset", c_int64),
        ("height", c_int32),
        ("width", c_int32),
        ("channels", c_int32),
        ("stride", c_int32),
    )


class CStep(Structure):
    """`struct native_step`."""

    _fields_ = (
        *((name, c_int32) for name in ("kind", "function", "operand", "weights_type")),
        *((name, c_int32) for name in ("kernel_height", "kernel_width", "stride_y", "stride_x")),
        *((name, c_int32) for name in ("dilation_y", "dilation_x", "top", "left", "groups")),
        ("low", c_float),
        ("high", c_float),
        ("is_constant", c_int32),
        *((name, CTensor) for name in ("input", "output", "other", "scale")),
        ("weights", c_int64),
        ("bias", c_int64),
    )


class CNetwork(Structure):
    """`struct native_network`."""

    _fields_ = (
        ("steps", POINTER(CStep)),
        ("step_count", c_size_t),
        ("floats", c_size_t),
        ("weights", c_void_p),
        ("weights_bytes", c_size_t),
        *((name, CTensor) for name in ("picture", "logits", "features")),
        *((name, c_int32) for name in ("border_top", "border_left", "border_bottom", "border_right")),
    )


class COptions(Structure):
    """`struct native_options`."""

    _fields_ = (
        ("threads", c_int32),
        ("spins", c_int32),
        ("shared_l2_bytes", c_int64),
        ("streaming", c_int32),
        ("reserved", c_int32),
    )


class Library:
    """One opened variant."""

    def __init__(self, variant: Variant, handle: ctypes.CDLL) -> None:
        self.variant = variant
        self._handle = handle
        if not self._is_ours():
            raise EngineError(
                f"{variant.file_name} belongs to another version of edge-agent: install it again"
            )
        self.lanes: int = self._call("native_lanes", c_int32)
        """The output channels that are packed side by side."""
        self._run = handle.native_run
        self._run.argtypes = [c_void_p] * 5
        self._run.restype = None

    @property
    def version(self) -> str:
        """Changes with the kernels' sources."""
        return str(self._call("native_version", c_char_p).decode("ascii", "replace"))

    @property
    def title(self) -> str:
        """What it is, for people: the CPU's instructions that it uses, and its version."""
        return f"edge-agent kernels {self.version}, {self.variant.title}"

    @property
    def can_run_here(self) -> bool:
        return bool(self._call("native_can_run", c_int32))

    def create(self, network: CNetwork, options: COptions) -> int:
        """Return a handle for `run` and `destroy`. Raises StepError or EngineError."""
        engine, bad_step = c_void_p(), c_size_t()
        code = self._call(
            "native_create",
            c_int32,
            ctypes.byref(network),
            ctypes.byref(options),
            ctypes.byref(engine),
            ctypes.byref(bad_step),
        )
        if code == BAD_STEP:
            raise StepError(bad_step.value)
        if code or engine.value is None:
            raise EngineError(f"the native engine cannot be made: {_CODES.get(code, f'code {code}')}")
        return engine.value

    def run(
        self, engine: int, picture: int, logits: int, features: int | None, seconds: int | None = None
    ) -> None:
        """Run a picture; the arguments are addresses."""
        self._run(engine, picture, logits, features, seconds)

    def stream(self, engine: int) -> None:
        """From the next picture on, give weights' pages back after each step."""
        self._call("native_stream", None, c_void_p(engine), c_int32(1))

    def bytes(self, engine: int) -> int:
        """The memory that the engine has allocated."""
        return int(self._call("native_bytes", c_size_t, c_void_p(engine)))

    def destroy(self, engine: int) -> None:
        self._call("native_destroy", None, c_void_p(engine))

    def _call(self, name: str, result: Any, *arguments: Any) -> Any:
        function = getattr(self._handle, name)
        function.restype = result
        return function(*arguments)

    def _is_ours(self) -> bool:
        """Whether the file has the functions, and the numbers in the form, that this program knows."""
        try:
            abi, step_bytes = self._call("native_abi", c_int32), self._call("native_step_bytes", c_size_t)
        except AttributeError:
            return False
        return bool(abi == ABI and step_bytes == ctypes.sizeof(CStep))


class StepError(EngineError):
    """The kernels refuse a step; `place` is its place among the steps."""

    def __init__(self, place: int) -> None:
        super().__init__(f"the native engine refuses step {place}")
        self.place = place


def open_library(variant: str = "", arithmetic: Precision = "fp32") -> Library:
    """Open the variant of that name, or the fastest of that arithmetic that this CPU can run.

    Raises EngineError when none was compiled for it.
    """
    machine = platform.machine()
    here = [
        v
        for v in VARIANTS
        if v.machine == machine and (v.name == variant if variant else v.arithmetic == arithmetic)
    ]
    problem = "none was compiled: install edge-agent where there is a C compiler, or from a wheel"
    for candidate in here:
        path = Path(__file__).parent / candidate.file_name
        if not path.exists():
            continue
        try:
            library = Library(candidate, ctypes.CDLL(str(path)))
        except OSError as error:
            problem = f"{path} cannot be loaded: {error}"
            continue
        if library.can_run_here:
            return library
        problem = f"this CPU has not what {candidate.title} needs"
    if not here:
        in_fp16 = " in FP16 arithmetic" if arithmetic == "fp16" else ""
        problem = f"there are none for {machine}{in_fp16}"
    raise EngineError(f"the native kernels cannot be used: {problem}")

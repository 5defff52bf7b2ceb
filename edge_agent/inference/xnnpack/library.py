"""Finds libXNNPACK, recognises its release, and calls it: a failure becomes an EngineError."""

from __future__ import annotations

import ctypes
import ctypes.util
from pathlib import Path
from typing import Any

from edge_agent.errors import EngineError
from edge_agent.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """One release of the library whose functions' arguments are known.

    The file name alone is not enough: several use `libXNNPACK.so.0`. `has` and `lacks` name functions
    that came and went in between.
    """

    soname: str
    has: str
    lacks: tuple[str, ...]


DEBIAN_12 = Release(
    soname="libXNNPACK.so.0",
    has="xnn_create_global_average_pooling_ncw_f32",
    lacks=("xnn_create_weights_cache", "xnn_create_runtime_v3"),
)
DEBIAN_13 = Release(
    soname="libXNNPACK.so.0.20241108",
    has="xnn_create_binary_elementwise_nd",
    lacks=("xnn_create_global_average_pooling_ncw_f32",),
)
RELEASES = (DEBIAN_13, DEBIAN_12)

_STATUS = {
    1: "uninitialized",
    2: "invalid parameter",
    3: "invalid state",
    4: "unsupported parameter",
    5: "unsupported hardware",
    6: "out of memory",
    7: "reallocation required",
    8: "deprecated",
}
_UNSUPPORTED_HARDWARE = 5

_ARGUMENT_TYPES: dict[str, Any] = {
    "i": ctypes.c_int,
    "u": ctypes.c_uint32,
    "z": ctypes.c_size_t,
    "f": ctypes.c_float,
    "p": ctypes.c_void_p,
}


def status_text(status: int) -> str:
    """Return the meaning of a value of `enum xnn_status`."""
    return f"{_STATUS.get(status, 'unknown status')} ({status})"


class XnnpackError(EngineError):
    """The library refused a call; the message has the function and the meaning of its status."""


class UnavailableError(EngineError):
    """The library, or this CPU, has no such operator."""


class Library:
    """The opened and initialised library."""

    def __init__(self, release: Release, handle: ctypes.CDLL) -> None:
        self.release = release
        self._handle = handle
        self._initialize()

    def function(self, name: str, arguments: str, result: Any = ctypes.c_int) -> Any:
        """Return a function of the library, typed.

        `arguments` has a letter for each: i enum, u uint32_t, z size_t, f float, p pointer. Raises
        UnavailableError when the library has no function of that name.
        """
        try:
            function = self._handle[name]
        except AttributeError:
            raise UnavailableError(f"{self.release.soname} has no function {name}") from None
        function.argtypes = [_ARGUMENT_TYPES[letter] for letter in arguments]
        function.restype = result
        return function

    def call(self, name: str, arguments: str, *values: Any) -> None:
        """Call a function that returns a status. Raises XnnpackError or UnavailableError for a failure."""
        status = self.function(name, arguments)(*values)
        if status == _UNSUPPORTED_HARDWARE:
            raise UnavailableError(f"{name} failed: {status_text(status)}")
        if status != 0:
            raise XnnpackError(f"{name} failed: {status_text(status)}")

    def _initialize(self) -> None:
        try:
            self.call("xnn_initialize", "p", None)
        except UnavailableError as error:
            raise EngineError(
                f"{self.release.soname} does not start: this CPU lacks what it needs (NEON, SSE2), or"
                " /proc/cpuinfo and /sys/devices/system/cpu, where the library looks,"
                " cannot be read by this process"
            ) from error


def open_library(path: Path | None = None) -> Library:
    """Open the library at `path`, or the newest known release that is installed.

    Raises EngineError when there is none, or only one whose functions' arguments are not known: calling
    those on a guess would corrupt memory.
    """
    if path is not None:
        return _open_at(path)
    for release in RELEASES:
        handle = _load(release.soname)
        if handle is not None:
            return _identified(release, handle, release.soname)
    if (unknown := ctypes.util.find_library("XNNPACK")) is not None:
        raise _unknown(unknown)
    raise EngineError(
        "libXNNPACK is not installed: `sudo apt install libxnnpack0` on Debian 12 (bookworm),"
        " `sudo apt install libxnnpack0.20241108` on Debian 13 (trixie), or use the torchscript engine"
    )


def _open_at(path: Path) -> Library:
    soname = path.resolve().name
    release = next((release for release in RELEASES if release.soname == soname), None)
    if release is None:
        raise _unknown(soname)
    handle = _load(str(path))
    if handle is None:
        raise EngineError(
            f"{path} cannot be loaded: it, or a library that it needs, is missing or for another CPU"
        )
    return _identified(release, handle, str(path))


def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _identified(release: Release, handle: ctypes.CDLL, name: str) -> Library:
    if not _has(handle, release.has) or any(_has(handle, function) for function in release.lacks):
        raise EngineError(f"{name} has the name of a release that is known, but not its functions; {_HINT}")
    return Library(release, handle)


def _has(handle: ctypes.CDLL, function: str) -> bool:
    return hasattr(handle, function)


_HINT = f"known are {' and '.join(release.soname for release in RELEASES)}, as Debian ships them"


def _unknown(soname: str) -> EngineError:
    return EngineError(f"{soname} is not a release of XNNPACK that this program knows; {_HINT}")

"""Signals as flags that the main loop looks at, with a bell that wakes it."""

from __future__ import annotations

import ctypes
import os
import signal
from types import FrameType

from edge_agent.errors import EXIT_OK
from edge_agent.system.wake import Wake


def end_at_once_when_stopped() -> None:
    """Until `Signals` takes over, end the process at once when it is stopped, with exit code 0.

    While it starts there is nothing to put in order: nothing has been published, and no event is in memory.
    SIGHUP is ignored: an edit is noticed without it.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
        _end_without_python(number)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(EXIT_OK)


def _end_without_python(number: int) -> None:
    """Put a handler of the C library's in front of Python's.

    Python's runs between two steps of the interpreter, and a step that loads a library or a model takes many
    seconds on a busy board. quick_exit(3) calls what is registered for it with 0: `_exit(0)`, and no more.
    Where the C library has no such thing, Python's handler does it, later.
    """
    libc = ctypes.CDLL(None)
    try:
        register, leave = libc.__cxa_at_quick_exit, libc.quick_exit
    except AttributeError:
        return
    register.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    register(ctypes.cast(libc._exit, ctypes.c_void_p), None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(number, ctypes.cast(leave, ctypes.c_void_p))


class Signals:
    """Catches SIGTERM and SIGINT (stop) and SIGHUP (reload) while it is open; used by the main thread."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._stop = ""
        self._reload = False
        self._before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGTERM, self._on_stop),
                (signal.SIGINT, self._on_stop),
                (signal.SIGHUP, self._on_reload),
            )
        }

    @property
    def stop(self) -> str:
        """The name of the signal that asked for the end; empty while there was none."""
        return self._stop

    def take_reload(self) -> bool:
        """Whether a reload was asked for since this was last called."""
        asked, self._reload = self._reload, False
        return asked

    def close(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        self._stop = signal.Signals(number).name
        self._wake.ring()

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload = True
        self._wake.ring()

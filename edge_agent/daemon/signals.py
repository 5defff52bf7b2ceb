"""Signals as flags that the main loop looks at, with a bell that wakes it."""

from __future__ import annotations

import signal
from types import FrameType

from edge_agent.system.wake import Wake


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

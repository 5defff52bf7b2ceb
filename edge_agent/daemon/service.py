"""The agent as systemd sees it: its readiness, the line that `systemctl status` shows, and the watchdog."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.daemon.schedule import Every
from edge_agent.system.systemd import Notifier, WatchdogGate

_STATUS_INTERVAL_S = 5.0
_START_EXTENSION_S = 60.0


class Service:
    """Notifies the service manager. Used by the main thread."""

    def __init__(
        self,
        notifier: Notifier,
        gate: WatchdogGate,
        status: Callable[[], str],
        watchdog_s: float | None,
    ) -> None:
        """`status` describes the agent in one line. `watchdog_s`: within this time the service manager
        expects progress; None for no watchdog."""
        self._notifier = notifier
        self._gate = gate
        self._status = status
        self._status_due = Every(_STATUS_INTERVAL_S)
        self._watchdog_due = None if watchdog_s is None else Every(watchdog_s / 2)
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether the start is complete: the first frame has been classified."""
        return self._is_ready

    def ready(self) -> None:
        """Start-up is complete."""
        self._is_ready = True
        self._notifier.ready(self._status())

    def reloading(self) -> None:
        """The configuration is being read again; `reloaded` must follow, however that ends."""
        if self._is_ready:
            self._notifier.reloading("reading the configuration")

    def reloaded(self) -> None:
        """The configuration has been taken over, or refused."""
        if self._is_ready:
            self._notifier.ready(self._status())

    def notify(self, now_s: float) -> None:
        """Feed the watchdog if there was progress, and set the status line, each when it is due."""
        if self._watchdog_due and self._watchdog_due.is_due(now_s) and self._gate.should_feed():
            self._notifier.watchdog()
        if self._status_due.is_due(now_s):
            self._notifier.status(self._status())
            if not self._is_ready and self._gate.should_feed():
                # Keep waiting for a camera that is missing at boot; a restart would not help.
                self._notifier.extend_timeout(_START_EXTENSION_S)

    def left_s(self, now_s: float) -> float:
        """Seconds until `notify` has something to do."""
        due = [self._status_due] + ([self._watchdog_due] if self._watchdog_due else [])
        return min(every.left_s(now_s) for every in due)

    def stopping(self) -> None:
        """Shutdown has begun."""
        self._notifier.stopping("stopping")

"""Keeps the board cool: samples its temperature, and says how fast to capture meanwhile."""

from __future__ import annotations

import logging

from edge_agent.config.schema import ThermalConfig
from edge_agent.daemon.health import board_health
from edge_agent.daemon.thermal import ThermalGovernor, ThermalPolicy
from edge_agent.mqtt.contract.payloads import BoardHealth
from edge_agent.system.board import Board, Throttling
from edge_agent.system.log import say

_LOG = logging.getLogger(__name__)

SAMPLE_S = 10.0
"""How often to sample: a few file reads, and one short child process where only `vcgencmd` is there."""


class Cooling:
    """What the board told last, and the pace that follows from it. Used by one thread; reads no clock.

    A source without a set rate (`fps` 0) is as fast as frames are worked on. That rate is measured while
    nothing slows it, and a share of it is what it is slowed to.
    """

    def __init__(self, board: Board, config: ThermalConfig) -> None:
        self._board = board
        self._config = config
        self._governor = ThermalGovernor(_policy_of(config))
        self._temperature_c: float | None = None
        self._throttling: Throttling | None = None
        self._counted: tuple[float, int] | None = None
        self._free_fps: float | None = None

    @property
    def factor(self) -> float:
        """The share of the usual rate to capture at, above 0 and at most 1."""
        return self._governor.factor

    @property
    def note(self) -> str:
        """For the status line: `slowed to 70% (81 C)`; empty at full speed."""
        if self.factor == 1:
            return ""
        heat = "" if self._temperature_c is None else f" ({self._temperature_c:.0f} C)"
        return f"slowed to {self.factor:.0%}{heat}"

    def adopt(self, config: ThermalConfig) -> None:
        """Follow other settings from the next sample on; what is switched off, at once."""
        self._config = config
        if config.enabled:
            self._governor.adopt(_policy_of(config))
        else:
            self._governor = ThermalGovernor(_policy_of(config))

    def sample(self, now_s: float, frames: int) -> None:
        """Look at the board, at the monotonic time `now_s`.

        `frames` is how many frames have been worked on since the start.
        """
        self._temperature_c = self._board.temperature_c()
        self._throttling = self._board.throttling()
        before = self.factor
        if before == 1 or self._free_fps is None:
            self._measure_free_rate(now_s, frames)
        self._counted = (now_s, frames)
        is_slowed = self._throttling is not None and self._throttling.is_slowed
        if self._config.enabled:
            self._governor.sample(now_s, self._temperature_c, is_slowed=is_slowed)
        self._tell(before, is_slowed)

    def pace_fps(self, fps: float) -> float:
        """The rate to capture at now, in place of the configured `fps`; 0 means as many as possible."""
        if self.factor == 1:
            return fps
        return self.factor * (fps if fps > 0 else self._free_fps or 0.0)

    def health(self) -> BoardHealth:
        """The board section of `health`."""
        return board_health(self._temperature_c, self._throttling, 100 * self.factor)

    def _measure_free_rate(self, now_s: float, frames: int) -> None:
        if self._counted is None:
            return
        since_s, before = self._counted
        if frames > before and now_s > since_s:
            self._free_fps = (frames - before) / (now_s - since_s)

    def _tell(self, before: float, is_slowed: bool) -> None:
        """Log the beginning and the end, and not each step between them."""
        if before == 1 and self.factor < 1:
            cause = "the firmware has slowed the CPU" if is_slowed else "the board is hot"
            say(
                _LOG,
                logging.WARNING,
                f"{cause}: frames are taken at a lower rate",
                temperature_c=self._temperature_c,
            )
        elif before < 1 and self.factor == 1:
            say(
                _LOG,
                logging.INFO,
                "the board has cooled down: frames are taken at the usual rate again",
                temperature_c=self._temperature_c,
            )


def _policy_of(config: ThermalConfig) -> ThermalPolicy:
    return ThermalPolicy(config.slow_above_c, config.calm_below_c)

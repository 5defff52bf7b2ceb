"""Keeps the board cool: takes fewer frames while its CPU is hot, before the firmware slows everything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from edge_agent.config.schema import ThermalConfig
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import BoardHealth
from edge_agent.pipeline.capture_loop import CapturePolicy
from edge_agent.system.board import Board, Throttling
from edge_agent.system.log import say

_LOG = logging.getLogger(__name__)

SAMPLE_S = 10.0
"""How often to sample: a few file reads, and one short child process where only `vcgencmd` is there."""


@dataclass(frozen=True, slots=True)
class ThermalPolicy:
    """When to slow down, in degrees Celsius, and by how much."""

    slow_above_c: float = 75.0
    """A Raspberry Pi 4 or 5 lowers its clock from 80 C on."""
    recover_below_c: float = 70.0
    """Speed comes back below this."""
    step_s: float = 10.0
    """The rate changes no faster than this: a heat sink responds slowly."""
    slower: float = 0.7
    faster: float = 1.2
    slowest: float = 0.1
    """Never fewer than this share of the frames."""

    @classmethod
    def from_config(cls, config: ThermalConfig) -> ThermalPolicy:
        return cls(config.slow_above_c, config.calm_below_c)


class ThermalGovernor:
    """Follows the temperature; `factor` is the share of the frames to take, 1 while it is cool. Pure."""

    def __init__(self, policy: ThermalPolicy) -> None:
        self._policy = policy
        self._factor = 1.0
        self._changed_s: float | None = None

    @property
    def factor(self) -> float:
        """From `policy.slowest` to 1."""
        return self._factor

    def adopt(self, policy: ThermalPolicy) -> None:
        """Follow another policy from the next sample on, beginning with the present factor."""
        self._policy = policy

    def sample(self, now_s: float, temperature_c: float | None, *, is_slowed: bool = False) -> None:
        """Take note of the temperature (None: unknown) and of whether the firmware has slowed the CPU."""
        if self._changed_s is not None and now_s - self._changed_s < self._policy.step_s:
            return
        factor = self._next(temperature_c, is_slowed)
        if factor != self._factor:
            self._factor = factor
            self._changed_s = now_s

    def _next(self, temperature_c: float | None, is_slowed: bool) -> float:
        if is_slowed or (temperature_c is not None and temperature_c >= self._policy.slow_above_c):
            return max(self._policy.slowest, self._factor * self._policy.slower)
        if temperature_c is None or temperature_c < self._policy.recover_below_c:
            return min(1.0, self._factor * self._policy.faster)
        return self._factor


class Cooling:
    """Samples the board, and sets the pace of the capture accordingly. Used by one thread; reads no clock.

    A source without a set rate (`fps` 0) is as fast as frames are worked on. That rate is measured while
    nothing slows it, and it is slowed down to a share of that.
    """

    def __init__(
        self,
        board: Board,
        config: ThermalConfig,
        policy: CapturePolicy,
        use_policy: Callable[[CapturePolicy], None],
    ) -> None:
        """`policy` is the configured pace, and followed already; `use_policy` has another one followed."""
        self._board = board
        self._config = config
        self._policy = policy
        self._use_policy = use_policy
        self._governor = ThermalGovernor(ThermalPolicy.from_config(config))
        self._set_fps = policy.fps
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

    def adopt(self, config: ThermalConfig, policy: CapturePolicy) -> None:
        """Follow other limits from the next sample on, and another configured pace at once.

        Cooling that is switched off ends at once.
        """
        self._config = config
        self._policy = policy
        if config.enabled:
            self._governor.adopt(ThermalPolicy.from_config(config))
        else:
            self._governor = ThermalGovernor(ThermalPolicy.from_config(config))
        self._set_pace()

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
        self._log_change(before, is_slowed)
        if self._pace_fps() != self._set_fps:
            self._set_pace()

    def health(self) -> BoardHealth:
        """The board section of `health`; None for what this board does not report."""
        found, pace_percent = self._throttling, 100 * self.factor
        if found is None:
            return BoardHealth(self._temperature_c, None, None, None, None, pace_percent=pace_percent)
        return BoardHealth(
            temperature_c=self._temperature_c,
            under_voltage=found.under_voltage,
            frequency_capped=found.frequency_capped,
            throttled=found.throttled,
            soft_temperature_limit=found.soft_temperature_limit,
            occurred=found.occurred,
            pace_percent=pace_percent,
        )

    def _pace_fps(self) -> float:
        """The rate to capture at now, in place of the configured one; 0 means as many as possible."""
        fps = self._policy.fps
        if self.factor == 1:
            return fps
        return self.factor * (fps if fps > 0 else self._free_fps or 0.0)

    def _set_pace(self) -> None:
        self._set_fps = self._pace_fps()
        self._use_policy(replace(self._policy, fps=self._set_fps))

    def _measure_free_rate(self, now_s: float, frames: int) -> None:
        if self._counted is None:
            return
        since_s, before = self._counted
        if frames > before and now_s > since_s:
            self._free_fps = (frames - before) / (now_s - since_s)

    def _log_change(self, before: float, is_slowed: bool) -> None:
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

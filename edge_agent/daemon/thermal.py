"""Slows the agent down before the board's firmware does: fewer frames while the CPU is hot. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ThermalPolicy:
    """When to slow down, in degrees Celsius, and by how much."""

    slow_above_c: float = 75.0
    """A Raspberry Pi 4 or 5 lowers its clock from 80 C on."""
    calm_below_c: float = 70.0
    """Speed comes back below this."""
    step_s: float = 10.0
    """The rate changes no faster than this: a heat sink takes its time."""
    slower: float = 0.7
    faster: float = 1.2
    slowest: float = 0.1
    """Never fewer than this share of the frames."""


class ThermalGovernor:
    """Follows the temperature; `factor` says which share of the frames to take, 1 when nothing is too hot."""

    def __init__(self, policy: ThermalPolicy) -> None:
        self._policy = policy
        self._factor = 1.0
        self._changed_s: float | None = None

    @property
    def factor(self) -> float:
        """From `policy.slowest` to 1."""
        return self._factor

    def adopt(self, policy: ThermalPolicy) -> None:
        """Follow another policy from the next sample on; the present factor is where it begins."""
        self._policy = policy

    def sample(self, now_s: float, temperature_c: float | None, *, is_slowed: bool = False) -> float:
        """Take note of the temperature (None: unknown) and of whether the firmware has slowed the CPU."""
        if self._changed_s is not None and now_s - self._changed_s < self._policy.step_s:
            return self._factor
        factor = self._next(temperature_c, is_slowed)
        if factor != self._factor:
            self._factor = factor
            self._changed_s = now_s
        return self._factor

    def _next(self, temperature_c: float | None, is_slowed: bool) -> float:
        if is_slowed or (temperature_c is not None and temperature_c >= self._policy.slow_above_c):
            return max(self._policy.slowest, self._factor * self._policy.slower)
        if temperature_c is None or temperature_c < self._policy.calm_below_c:
            return min(1.0, self._factor * self._policy.faster)
        return self._factor

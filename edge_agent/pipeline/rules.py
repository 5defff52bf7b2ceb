"""The part of the configuration that classified frames follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal, Self

from edge_agent.config.schema import (
    Config,
    MotionConfig,
    PeriodConfig,
    PublishConfig,
    RegionConfig,
    ScheduleConfig,
    StabilizerConfig,
)
from edge_agent.lean_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """Replaced as a whole when the configuration changes."""

    stabilizer: StabilizerConfig
    publish: PublishConfig
    motion: MotionConfig
    regions: Mapping[str, RegionConfig] = field(default_factory=dict)
    """What is watched in place of the whole picture; empty for that."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Of single labels, in place of the stabiliser's."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    periods: Mapping[str, PeriodConfig] = field(default_factory=dict)
    """Times with a taught head of their own."""
    period_s: float | None = None
    """From frame to frame; None: as many as can be classified."""
    source_type: str = ""
    """Where frames come from, for advice."""

    @classmethod
    def from_config(cls, config: Config) -> Self:
        publish = config.publish
        if publish.state == "auto":
            mode: Literal["on_change", "every_frame"] = (
                "on_change" if config.homeassistant.enabled else "every_frame"
            )
            publish = replace(publish, state=mode)
        fps = config.source.fps
        return cls(
            config.stabilizer,
            publish,
            config.motion,
            config.regions,
            config.labels.thresholds,
            config.schedule,
            config.periods,
            1 / fps if fps > 0 else None,
            config.source.type,
        )

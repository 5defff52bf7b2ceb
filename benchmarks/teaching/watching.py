"""Watches whole days through the real stabiliser, and counts events that are false, and that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.teaching.features import SceneFeatures
from benchmarks.teaching.heads import Verdicts
from edge_agent.config.schema import StabilizerConfig
from edge_agent.inference import Score
from edge_agent.pipeline.stabilizer import UNKNOWN, Stabilizer

_DAY_MIN = 1440


@dataclass(frozen=True, slots=True)
class Events:
    """Counts, a day."""

    true: float
    """Changes that there were."""
    false: float
    """Events that say what is not so, or once more what has been said."""
    missed: float
    """Changes after which the label never was right until the next one."""


def watch(seen: SceneFeatures, verdicts: Verdicts) -> Events:
    """What subscribers are told over the watched days. With a stranger, `unknown` is what is so."""
    stabilizer = Stabilizer(StabilizerConfig())
    truth = [state if state in seen.labels else UNKNOWN for state in seen.watched.states]
    part, is_told, missed, false = "", True, 0, 0
    for place, minute in enumerate(seen.minutes):
        if truth[place] != part:
            missed += not is_told
            part, is_told = truth[place], False
        stable = stabilizer.update(_top(verdicts, place), 60.0 * minute)
        if stable.change:
            false += is_told or stable.label != part
        is_told = is_told or stable.label == part
    days = -(-(seen.minutes[-1] + 1) // _DAY_MIN)
    changes = sum(one != other for one, other in zip(["", *truth], truth, strict=False))
    return Events(changes / days, false / days, (missed + (not is_told)) / days)


def _top(verdicts: Verdicts, place: int) -> Sequence[Score]:
    if not verdicts.accepted[place]:
        return ()
    return (Score(verdicts.best[place], 0, float(verdicts.probabilities[place])),)

"""Watches whole days through the real stabiliser, and counts events that are false, and that are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.teaching.features import Features, SceneFeatures
from benchmarks.teaching.heads import Verdicts
from edge_agent.config.schema import StabilizerConfig
from edge_agent.inference import Score
from edge_agent.pipeline.stabilizer import UNKNOWN, Stabilizer
from edge_agent.pipeline.view import votes_of
from edge_agent.teach.head import Head

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


Voter = Callable[[int, str], Sequence[Score]]
"""Is given a frame's place and the label that is published; returns what the frame votes for."""


def by_head(head: Head, features: Features) -> Voter:
    """Votes as the daemon has them, with hysteresis."""
    return lambda place, held: votes_of(head.answer(features[place], held), head.labels)


def by_verdicts(verdicts: Verdicts) -> Voter:
    """Each frame votes for itself, whatever is published."""
    return lambda place, _held: _top(verdicts, place)


def watch(seen: SceneFeatures, vote: Voter) -> Events:
    """What subscribers are told over the watched days. With a stranger, `unknown` is what is so."""
    stabilizer = Stabilizer(StabilizerConfig())
    truth = [state if state in seen.labels else UNKNOWN for state in seen.watched.states]
    part, is_told, missed, false = "", True, 0, 0
    for place, minute in enumerate(seen.minutes):
        if truth[place] != part:
            missed += not is_told
            part, is_told = truth[place], False
        stable = stabilizer.update(vote(place, stabilizer.label), 60.0 * minute)
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

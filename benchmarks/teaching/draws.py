"""Which of the taught frames an owner shows: a draw is one owner, who shows so many of each label."""

from __future__ import annotations

import numpy as np

from benchmarks.teaching.features import Features, SceneFeatures
from benchmarks.teaching.sample import IN_BURST
from edge_agent.teach.examples import Example

_EPOCH_S = 1.7e9


def draw(seen: SceneFeatures, of_each: int, number: int, *, whole: bool = False) -> list[Example]:
    """`of_each` examples of every label, in bursts on different days; the same for the same number.

    The second burst of three is at night: as an owner does who reads what the report says is missing. With
    `whole` they are of the whole picture and not of its region.
    """
    chance = np.random.default_rng((number, of_each, *seen.scene.encode()))
    days = sorted(set(seen.taught.days))
    found = []
    for place, label in enumerate(seen.labels):
        chosen = chance.permutation(days)
        for burst in range(-(-of_each // IN_BURST)):
            left = of_each - burst * IN_BURST
            key = (label, int(chosen[burst % len(days)]), burst % 3 == 1)
            found += _burst(seen, key, place * 1000 + burst, whole=whole)[:left]
    return found


def _burst(seen: SceneFeatures, key: tuple[str, int, bool], burst: int, *, whole: bool) -> list[Example]:
    label, day, at_night = key
    frames = seen.taught
    features: Features = frames.whole if whole else frames.region
    return [
        Example(
            label,
            features[place],
            _EPOCH_S + 86400 * day + 3600 * frames.hours[place] + number,
            float(frames.brightness[place]),
            burst,
        )
        for number, place in enumerate(
            place
            for place in range(len(frames.states))
            if (frames.states[place], frames.days[place], frames.visits[place]) == (label, day, int(at_night))
        )
    ]

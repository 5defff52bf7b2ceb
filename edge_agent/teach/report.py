"""Says how good a head is on bursts that it was not taught, what looks mislabelled, and what is missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edge_agent.lean_dataclass import dataclass
from edge_agent.teach.examples import NONE, AnyExample, in_order
from edge_agent.teach.fitting import Fit
from edge_agent.teach.head import Method
from edge_agent.teach.trial import NOT_JUDGED

LEAST_TO_SHOW = 5
"""Examples of a label below which the owner is asked for more."""

_Z = 1.96  # 95 of 100 such intervals hold the truth
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Suspect:
    """An example that the others would have given another label."""

    key: str
    label: str
    answer: str
    probability: float
    """Of that answer."""


@dataclass(frozen=True, slots=True)
class Report:
    """How good a head is. What could not be judged, since its label has one burst alone, does not count."""

    method: Method
    examples: int
    judged: int
    correct: int
    low: float | None
    """The least accuracy that agrees with what was seen (95 %); None where nothing was judged."""
    high: float | None
    confusion: Mapping[str, Mapping[str, int]]
    """For each label, what its examples were taken for, and how often; only what was judged."""
    mislabelled: tuple[Suspect, ...]
    """The surest first."""
    missing: tuple[str, ...]
    """What the owner should show next, in words."""

    @property
    def accuracy(self) -> float | None:
        """The share of the judged examples that was right; None where none was judged."""
        return self.correct / self.judged if self.judged else None


def report(examples: Iterable[AnyExample], fit: Fit) -> Report:
    """Report on the fit to these examples, in whatever order they come."""
    ordered = in_order(examples)
    names, answers, truth = fit.head.labels, fit.trial.chosen, fit.trial.truth
    judged = np.flatnonzero(answers.labels != NOT_JUDGED)
    pairs = [(names[truth[place]], names[answers.labels[place]]) for place in judged]
    bursts = len({(truth[place], ordered[place].burst) for place in judged})
    correct = answers.correct(truth)
    low, high = wilson(correct / len(judged), bursts) if len(judged) else (None, None)
    suspects = [
        Suspect(
            ordered[place].key,
            ordered[place].label,
            names[answers.labels[place]],
            float(answers.probabilities[place]),
        )
        for place in judged
        if answers.labels[place] != truth[place]
    ]
    suspects.sort(key=lambda each: (-each.probability, each.key))
    return Report(
        fit.head.taught.method,
        len(ordered),
        len(judged),
        correct,
        low,
        high,
        _counted(pairs),
        tuple(suspects),
        missing(ordered),
    )


def wilson(share: float, trials: int) -> tuple[float, float]:
    """Wilson's interval for a share that was seen in so many independent trials, 95 %.

    The examples of one burst are no independent trials, so bursts are what is to be counted.
    """
    middle = share + _Z**2 / (2 * trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + (_Z / (2 * trials)) ** 2)
    scale = 1 + _Z**2 / trials
    return max((middle - half) / scale, 0.0), min((middle + half) / scale + _ROUNDING, 1.0)


def missing(examples: Sequence[AnyExample]) -> tuple[str, ...]:
    """What to show next: labels with few examples, with one burst alone by day or at night, or with none."""
    of_label: dict[str, list[AnyExample]] = {}
    for example in examples:
        of_label.setdefault(example.label, []).append(example)
    found = [f"only one label: show something else, or `{NONE}`"] if len(of_label) == 1 else []
    nights = {example.is_night for example in examples}
    for label, mine in sorted(of_label.items()):
        if len(mine) < LEAST_TO_SHOW:
            found.append(f"{_counted_examples(len(mine))} of `{label}`: show {LEAST_TO_SHOW} or more")
        lights = Counter(is_night for _, is_night in {(each.burst, each.is_night) for each in mine})
        if len({example.burst for example in mine}) == 1:
            found.append(f"all of `{label}` at one time: show it again another time")
        else:
            once = sorted(is_night for is_night, times in lights.items() if times == 1)
            found += [f"`{label}` at one time alone {_light(is_night)}: show it again" for is_night in once]
        found += [f"no example of `{label}` {_light(is_night)}" for is_night in nights - lights.keys()]
    return tuple(found)


def _light(is_night: bool) -> str:
    return "at night" if is_night else "by day"


def _counted_examples(count: int) -> str:
    return "1 example" if count == 1 else f"{count} examples"


def _counted(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for label, answer in sorted(pairs):
        row = counts.setdefault(label, {})
        row[answer] = row.get(answer, 0) + 1
    return counts

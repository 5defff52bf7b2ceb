"""Says in which fold, a part of a trial, each example is left out: of every label as much, and in like light.

A head knows labels apart by what was shown of each in the same light. Without one burst of one label alone,
it would know the others by night, say, and that one by day only, and take its nights for theirs: it would be
judged far worse than it is. So bursts of all labels go together, those that resemble each other in what
changes a label most from time to time. Most often that is day and night, the weather, or infrared light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.teach.examples import AnyExample
from edge_agent.teach.unknown import Floats

MOST_FOLDS = 16
"""A label with more bursts has several left out together."""
NEVER = -1
"""The fold of an example whose label was shown at one time alone: without it there would be no such label."""

_STEPS = 20  # of the power iteration: what is still mixed then is as strong

Numbers = NDArray[np.intp]


def folds_of(examples: Sequence[AnyExample], products: Floats) -> Numbers:
    """The fold in which each is left out, from 0 on, or NEVER; shape (examples,). A burst stays together.

    A burst that shows several labels counts as that of the first. The examples are in their order, and
    `products` those between their roots, perhaps with more rows behind.
    """
    shown = list(dict.fromkeys((each.label, each.burst) for each in examples))
    places = {each: place for place, each in enumerate(shown)}
    light = _light(examples, np.array([places[e.label, e.burst] for e in examples], np.intp), products)
    of_label: dict[str, list[int]] = {}
    leads = {burst: label for label, burst in reversed(shown)}
    for label, burst in sorted(shown, key=lambda each: (light[places[each]], each)):
        if leads[burst] == label:
            of_label.setdefault(label, []).append(burst)
    folds = min(max(map(len, of_label.values())), MOST_FOLDS)
    fold_of: dict[int, int] = {}
    for mine in of_label.values():
        fold_of |= _dealt(mine, folds)
    return np.array([fold_of[each.burst] for each in examples], np.intp)


def _dealt(bursts: Sequence[int], folds: int) -> Mapping[int, int]:
    """The fold of each of a label's bursts, which are sorted: spread evenly, however few they are."""
    if len(bursts) == 1:
        return {bursts[0]: NEVER}
    return {burst: (2 * place + 1) * folds // (2 * len(bursts)) for place, burst in enumerate(bursts)}


def _light(examples: Sequence[AnyExample], group: Numbers, products: Floats) -> list[float]:
    """Where each group of examples lies along the direction in which groups of one label differ most.

    That is the first principal component, by power iteration from what the brightness says. `group`, shape
    (examples,), numbers those of one label and burst; they lie side by side.
    """
    count = np.bincount(group)
    first = np.cumsum(count) - count
    label_of = [examples[place].label for place in first]
    number = {label: place for place, label in enumerate(dict.fromkeys(label_of))}
    label = np.array([number[each] for each in label_of], np.intp)
    own = products[: len(group), : len(group)]

    def apart(values: NDArray[np.floating]) -> NDArray[np.float64]:
        """The mean of each group, less the mean of those of its label."""
        means = np.bincount(group, values) / count
        return means - (np.bincount(label, means) / np.bincount(label))[label]

    along = apart(np.array([each.brightness for each in examples], np.float64))
    if not along.any():
        along = apart(group.astype(np.float64))
    for _ in range(_STEPS):
        found = apart(own @ (along / count)[group].astype(np.float32))
        length = float(np.sqrt(found @ found))
        if not length > 0:
            break
        along = found / length
    return list(along.tolist())

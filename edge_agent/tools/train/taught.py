"""The head that teaching would have made of the same pictures: was training worth it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_agent.teach.examples import Example
from edge_agent.teach.fitting import fit
from edge_agent.teach.head import Backbone
from edge_agent.tools.train.judge import Judgement, Logits, judge
from edge_agent.tools.train.loop import Sets, seen_of
from edge_agent.tools.train.network import Trainee

MOST_EXAMPLES = 1500
"""A head is fitted to no more: its arithmetic grows with the square of them."""
_Z = 1.96  # 95 of 100 such intervals hold the truth


@dataclass(frozen=True, slots=True)
class Comparison:
    """The taught head on the pictures that the network was judged by, and what training gained."""

    taught: Judgement
    examples: int
    """That the head was taught."""
    gain: float
    """Accuracy of the trained network less that of the head, -1 to 1."""
    low: float
    high: float
    """The interval of the gain, 95 %: by bursts, picture against picture."""

    @property
    def is_worth_it(self) -> bool:
        """Whether the network is better by more than chance."""
        return self.low > 0


def compare(
    start: Trainee,
    sets: Sets,
    judged: Sequence[int],
    bursts: Sequence[str],
    labels: Sequence[str],
    trained: Logits,
    batch: int,
) -> Comparison:
    """Teach a head on the features of the network that training began with, and hold both against each other.

    `start` is that network; `bursts` are those of all pictures; `trained` the answers of the trained one on
    the `judged` pictures, shape (pictures, labels). Raises TeachError where no head can be taught on it.
    """
    learn = sets.learn[:: math.ceil(len(sets.learn) / MOST_EXAMPLES)]
    features = _features(start, sets, learn, batch)
    numbers = {burst: number for number, burst in enumerate(sorted(set(bursts)))}
    examples = [
        Example(labels[sets.truth[place]], feature, 0.0, 0.0, numbers[bursts[place]])
        for place, feature in zip(learn, features, strict=True)
    ]
    head = fit(examples, Backbone("", "", features.shape[1])).head
    rows = _features(start, sets, judged, batch)
    order = [head.labels.index(label) for label in labels]
    said = np.stack([head.answer(row).probabilities[order] for row in rows]).astype(np.float32)
    truth, goes = sets.truth[list(judged)], [bursts[place] for place in judged]
    gain, half = _gain(trained.argmax(axis=1) == truth, said.argmax(axis=1) == truth, goes)
    return Comparison(judge(said, truth, goes, labels), len(examples), gain, gain - half, gain + half)


def _features(start: Trainee, sets: Sets, places: Sequence[int], batch: int) -> NDArray[np.float16]:
    """What the last layer reads, shape (pictures, features), as a head is taught on."""
    rows: list[NDArray[np.float16]] = []

    def note(_module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        largest = float(np.finfo(np.float16).max)
        rows.append(given[0].float().clamp(-largest, largest).numpy().astype(np.float16))

    hook = start.last.register_forward_pre_hook(note)
    start.module.eval()
    try:
        with torch.inference_mode():
            for first in range(0, len(places), batch):
                start.module(seen_of(start, sets.pictures, places[first : first + batch]))
    finally:
        hook.remove()
    return np.concatenate(rows)


def _gain(
    trained: NDArray[np.bool_], taught: NDArray[np.bool_], bursts: Sequence[str]
) -> tuple[float, float]:
    """The difference of the two shares, and half its interval, as if a burst more spoke for either side."""
    apart = trained.astype(np.float64) - taught
    gain = float(apart.mean())
    places: dict[str, list[int]] = {}
    for place, burst in enumerate(bursts):
        places.setdefault(burst, []).append(place)
    sums = [float((apart[mine] - gain).sum()) for mine in places.values()]
    usual = len(apart) / len(places)
    spread = math.sqrt(sum(each**2 for each in sums) + 2 * usual**2)
    return gain, _Z * spread / (len(apart) + 2 * usual)

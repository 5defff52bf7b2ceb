"""How good a network is on pictures that it has never seen, and how sure it may say that it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.teach.report import wilson

Logits = NDArray[np.float32]

_TEMPERATURES = np.geomspace(0.5, 20.0, 161)  # where all is right, ever lower ones would seem better
_KEPT = 0.95
_BINS = 10
_HIGHEST_THRESHOLD = 0.9


@dataclass(frozen=True, slots=True)
class OfLabel:
    """One label's figures, each a share from 0 to 1; None where there is nothing to divide by."""

    label: str
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a network got right."""

    pictures: int
    bursts: int
    accuracy: float
    low: float
    high: float
    """The interval, 95 %: by bursts, since the pictures of one are no independent trials."""
    labels: tuple[OfLabel, ...]
    confusion: tuple[tuple[int, ...], ...]
    """For each label, in their order, how many of its pictures were taken for each label."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers that are about as sure, with probabilities from `low` to `high`."""

    low: float
    high: float
    count: int
    sure: float
    """Their mean probability."""
    right: float
    """The share of them that is right."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well probabilities say how often answers are right."""

    bins: tuple[Bin, ...]
    """Those that have answers, the least sure first."""
    error: float
    """How far sureness and share are apart, on the mean over all answers, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The probability below which a frame had better be unknown, and what that costs and spares."""

    probability: float
    kept: float | None
    """The share of right answers that stay."""
    refused: float | None
    """The share of wrong answers that become unknown; None where there was no wrong one."""


def judge(logits: Logits, truth: NDArray[np.intp], bursts: Sequence[str], labels: Sequence[str]) -> Judgement:
    """Judge answers of shape (pictures, labels)."""
    said = logits.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), np.intp)
    np.add.at(confusion, (truth, said), 1)
    accuracy, goes = float((said == truth).mean()), len(set(bursts))
    low, high = wilson(accuracy, goes)
    right = confusion.diagonal()
    figures = tuple(
        OfLabel(
            label, _share(right[i], int(confusion[:, i].sum())), _share(right[i], int(confusion[i].sum()))
        )
        for i, label in enumerate(labels)
    )
    rows = tuple(tuple(int(count) for count in row) for row in confusion)
    return Judgement(len(truth), goes, accuracy, low, high, figures, rows)


def temperature_of(logits: Logits, truth: NDArray[np.intp]) -> float:
    """What logits are to be divided by, for probabilities to say how often they are right."""
    losses = [
        -np.log(_chances(logits, each)[np.arange(len(truth)), truth] + 1e-12).mean() for each in _TEMPERATURES
    ]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 3)


def threshold_of(logits: Logits, truth: NDArray[np.intp], temperature: float) -> float:
    """The probability below which a frame had better be unknown: 95 of 100 right answers are above it."""
    chances = _chances(logits, temperature)
    right = chances.max(axis=1)[chances.argmax(axis=1) == truth]
    lowest = float(np.quantile(right, 1 - _KEPT)) if len(right) else 0.5
    return round(min(lowest, _HIGHEST_THRESHOLD), 2)


def reliability_of(logits: Logits, truth: NDArray[np.intp], temperature: float) -> Reliability:
    """Sort answers of shape (pictures, labels) by how sure they are."""
    chances = _chances(logits, temperature)
    sure, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    place = np.minimum((sure * _BINS).astype(np.intp), _BINS - 1)
    bins = tuple(
        Bin(
            number / _BINS,
            (number + 1) / _BINS,
            int(mine.sum()),
            float(sure[mine].mean()),
            float(right[mine].mean()),
        )
        for number in range(_BINS)
        if (mine := place == number).any()
    )
    error = sum(each.count * abs(each.sure - each.right) for each in bins) / max(len(truth), 1)
    return Reliability(bins, float(error))


def cost_of(logits: Logits, truth: NDArray[np.intp], temperature: float, threshold: float) -> Threshold:
    """What a threshold does to answers of shape (pictures, labels)."""
    chances = _chances(logits, temperature)
    is_sure, right = chances.max(axis=1) >= threshold, chances.argmax(axis=1) == truth
    return Threshold(
        threshold,
        _share(int((is_sure & right).sum()), int(right.sum())),
        _share(int((~is_sure & ~right).sum()), int((~right).sum())),
    )


def worst(
    logits: Logits, truth: NDArray[np.intp], temperature: float, most: int
) -> list[tuple[int, int, float]]:
    """The surest wrong answers, the surest first: row, answer, and its probability."""
    chances = _chances(logits, temperature)
    said = chances.argmax(axis=1)
    rows = np.flatnonzero(said != truth)
    order = rows[np.argsort(-chances[rows, said[rows]], kind="stable")][:most]
    return [(int(row), int(said[row]), float(chances[row, said[row]])) for row in order]


def _chances(logits: Logits, temperature: float) -> NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None

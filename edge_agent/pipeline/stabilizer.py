"""Steadies the label by votes over recent frames, hysteresis and a hold time; decides when to publish it."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Literal

from edge_agent.config.schema import StabilizerConfig
from edge_agent.inference import Score
from edge_agent.lean_dataclass import dataclass

UNKNOWN = "unknown"
"""The label that is published while none is sure enough."""

FLAP_S = 10.0
"""A change that returns to the label left less than this before is a flap."""


@dataclass(frozen=True, slots=True)
class LabelChange:
    """The published label has become another one."""

    from_label: str
    to_label: str
    score: float
    """The score of `to_label`, as in `Stable`."""


@dataclass(frozen=True, slots=True)
class Stable:
    """The label to publish after a frame."""

    label: str
    """A label of the model, or `unknown`."""
    score: float
    """The label's score in the latest frame that voted for it, 0 to 1. While unknown: the score of the best
    label in the latest frame that voted for none, 0 where that frame had no label."""
    unknown: bool
    change: LabelChange | None
    """Set on the frame with which the label changed."""


@dataclass(frozen=True, slots=True)
class _Vote:
    """The vote of one frame; a label that is not sure enough counts as unknown."""

    label: str
    score: float


class Stabilizer:
    """Turns the best label of each frame into one that does not flap. Used by one thread; reads no clock.

    Each frame votes for its best label if that scores at least its threshold (the present label, the one that
    is published: less `hysteresis`), else for `unknown`. Another label, or `unknown`, takes over when
    it has at least `votes` votes of the last `window` frames, more than the present one, and the present one
    has been held for `min_hold_s` seconds. If several qualify, the one with the most votes takes over, and
    between equals the one voted for last. At the beginning the label is `unknown`, which need not be held.
    """

    def __init__(self, config: StabilizerConfig, thresholds: Mapping[str, float] | None = None) -> None:
        """`thresholds` are those of single labels, in place of the one in `config`."""
        self._config = config
        self._thresholds = thresholds or {}
        self._votes: deque[_Vote] = deque(maxlen=config.window)
        self._label = UNKNOWN
        self._score = 0.0
        self._since_s = -math.inf
        self._left_label = ""
        self._left_s = -math.inf
        self._flaps = 0
        self._is_decided = False

    @property
    def label(self) -> str:
        """The present label, or `unknown`."""
        return self._label

    @property
    def is_decided(self) -> bool:
        """Whether votes have ever decided; the label's beginning, `unknown`, is nobody's vote."""
        return self._is_decided

    @property
    def flaps(self) -> int:
        """How often the label has returned to the one it had left less than FLAP_S seconds before."""
        return self._flaps

    @property
    def settled(self) -> bool:
        """Whether the latest frame voted for the present label: more of its kind would change nothing."""
        return self._is_decided and self._votes[-1].label == self._label

    def adopt(self, config: StabilizerConfig, thresholds: Mapping[str, float] | None = None) -> None:
        """Follow other rules from the next frame on; the label and the votes cast so far are kept."""
        self._config = config
        self._thresholds = thresholds or {}
        self._votes = deque(self._votes, maxlen=config.window)

    def update(self, top: Sequence[Score], now_s: float) -> Stable:
        """Take in one frame's labels, best first (empty: none was allowed), at the monotonic time `now_s`."""
        self._votes.append(self._vote(top))
        winner = self._winner()
        change = None
        if winner != self._label and now_s - self._since_s >= self._config.min_hold_s:
            change = self._change_to(winner, now_s)
        agreeing = sum(vote.label == self._label for vote in self._votes)
        self._is_decided = self._is_decided or agreeing >= self._config.votes
        self._score = self._latest_score(self._label)
        return Stable(self._label, self._score, self._label == UNKNOWN, change)

    def _vote(self, top: Sequence[Score]) -> _Vote:
        if not top:
            return _Vote(UNKNOWN, 0.0)
        best = top[0]
        is_present = best.label == self._label
        threshold = self._thresholds.get(best.label, self._config.threshold)
        needed = threshold - (self._config.hysteresis if is_present else 0.0)
        return _Vote(best.label if best.score >= needed else UNKNOWN, best.score)

    def _winner(self) -> str:
        """The label that the votes are for; the present one where no other has enough."""
        counts = Counter(vote.label for vote in reversed(self._votes))
        # Between equal counts `most_common` prefers the first inserted: the one voted for last.
        label, count = counts.most_common(1)[0]
        return label if count >= max(self._config.votes, counts[self._label] + 1) else self._label

    def _change_to(self, label: str, now_s: float) -> LabelChange:
        if label == self._left_label and now_s - self._left_s < FLAP_S:
            self._flaps += 1
        change = LabelChange(self._label, label, self._latest_score(label))
        self._left_label, self._left_s = self._label, now_s
        self._label, self._since_s = label, now_s
        return change

    def _latest_score(self, label: str) -> float:
        scores = (vote.score for vote in reversed(self._votes) if vote.label == label)
        return next(scores, self._score)


class PublishGate:
    """Decides which frames' state is published."""

    def __init__(self, mode: Literal["auto", "every_frame", "on_change"], heartbeat_s: float) -> None:
        """With `on_change`, an unchanged state is due again `heartbeat_s` seconds after the last one. `auto`
        counts as `every_frame`."""
        self._mode = mode
        self._heartbeat_s = heartbeat_s
        self._published_s = -math.inf

    def is_due(self, now_s: float, *, changed: bool) -> bool:
        """Whether to publish the state of the frame at the monotonic time `now_s`; the first always is."""
        due = self._mode != "on_change" or changed or self.heartbeat_is_due(now_s)
        if due:
            self._published_s = now_s
        return due

    def heartbeat_is_due(self, now_s: float) -> bool:
        """Whether the last published state is so old, at the time `now_s`, that another is needed."""
        return now_s - self._published_s >= self._heartbeat_s

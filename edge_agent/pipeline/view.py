"""What is watched: the whole picture or a region of it, with the votes, the label and the head of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_agent.frame import Frame
from edge_agent.inference import Prediction, Score
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import HeadRef
from edge_agent.pipeline.answers import Moment
from edge_agent.pipeline.few_pixels import FewPixels
from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.motion import MotionGate
from edge_agent.pipeline.opening import Periods
from edge_agent.pipeline.part import Part
from edge_agent.pipeline.rules import Rules
from edge_agent.pipeline.stabilizer import LabelChange, PublishGate, Stabilizer, Stable

if TYPE_CHECKING:
    from edge_agent.teach import head as teach
    from edge_agent.teach.ask import Asking

_TOP = 3


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The latest frame of a view that was classified, for who wants to name it."""

    frame: Frame
    """Its pixels are those of the view alone."""
    feature: NDArray[np.float32]
    """Shape (features,), empty where the network has none."""
    answer: teach.Answer | None
    """What the head said of it; None without a head."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What follows from a classified frame."""

    prediction: Prediction
    """With the labels of the head, where there is one."""
    stable: Stable
    head: HeadRef | None
    change: LabelChange | None
    """The change to announce: from what subscribers know."""
    is_due: bool
    """Whether to publish the state."""


class View:
    """Follows one part of the picture. Used by the inference thread; others may read `seen`, `shown`."""

    def __init__(self, name: str, rules: Rules, last_label: LastLabel) -> None:
        """`name` is that of a region of `rules`, empty for the whole picture."""
        self.name = name
        self.seen: Seen | None = None
        self.asking: Asking | None = None
        """Keeps frames that are worth a question, while there is a head."""
        self._part = _part(rules, name)
        self._source_type = rules.source_type
        self._few_pixels = FewPixels(name) if name else None
        self._last_label = last_label
        self._stabilizer = Stabilizer(rules.stabilizer, rules.thresholds)
        self._gate = PublishGate(rules.publish.state, rules.publish.heartbeat_s)
        self._motion = MotionGate(rules.motion)
        self._periods = _periods(rules)
        self._head: teach.Head | None = None
        self._of_period: Mapping[str, teach.Head] = {}
        self._stable: Stable | None = None

    @property
    def flaps(self) -> int:
        """Label changes that were taken back at once."""
        return self._stabilizer.flaps

    @property
    def shown(self) -> str:
        """The latest label with its score; empty before the first frame."""
        stable = self._stable
        return f"{stable.label} {stable.score:.0%}" if stable else ""

    def adopt(self, rules: Rules) -> None:
        """Follow other rules, keeping the votes and the label so far."""
        self._part = _part(rules, self.name)
        self._source_type = rules.source_type
        self._stabilizer.adopt(rules.stabilizer, rules.thresholds)
        self._gate = PublishGate(rules.publish.state, rules.publish.heartbeat_s)
        self._motion.adopt(rules.motion)
        self._periods = _periods(rules)

    def use_head(self, head: teach.Head | None, of_period: Mapping[str, teach.Head]) -> None:
        """Answer by this head from the next frame on, and while it is one of the periods in `of_period` by
        that one's; None: by the network's own labels."""
        self._head = head
        self._of_period = of_period

    def opinion(self, feature: NDArray[np.float32]) -> tuple[tuple[Score, ...], str] | None:
        """What the head says of another picture, and why it is unknown, if it is; None without a head.

        `feature` is what the network made of it. Call it on the inference thread.
        """
        if self._head is None:
            return None
        answer = self._head.answer(feature)
        return scores(self._head.labels, answer.probabilities), answer.why or ""

    def close(self) -> None:
        """Keep the label over a restart."""
        self._last_label.close()

    def look_again(self) -> None:
        """Have the next frame classified although nothing may have moved in it."""
        self._motion.reset()

    def part(self, frame: Frame) -> Frame | None:
        """The view's part of a frame; None where the frame does not show it."""
        return self._part.of(frame)

    def may_rest(self, part: Frame, now_s: float) -> bool:
        """Whether the last answer stands: nothing moves, no vote is open, and no heartbeat is due.

        Call it with every frame's part, in order.
        """
        return (
            self._motion.is_still(part.pixels, part.captured_s)  # which has to see every frame
            and self._stabilizer.settled
            and not self._gate.heartbeat_is_due(now_s)
        )

    def judge(self, part: Frame, prediction: Prediction, moment: Moment) -> Judged:
        """Take in what the network says of the view's part of a frame, at that moment."""
        now_s = moment.monotonic_s
        if self._few_pixels is not None:
            self._few_pixels.look(part.pixels, self._source_type)
        answer, votes = None, prediction.top
        ref: HeadRef | None = None
        if self._head is not None:
            period = self._period(part, moment)
            head = self._of_period.get(period, self._head)
            answer = head.answer(prediction.feature, self._stabilizer.label)
            top = scores(head.labels, answer.probabilities)
            prediction = replace(prediction, top=top)
            votes = votes_of(answer, head.labels)
            ref = HeadRef(head.taught.method, len(head.labels), answer.why, period)
            self._ask(part, prediction.feature, answer, moment)
        stable = self._stabilizer.update(votes, now_s)
        self._stable = stable
        self.seen = Seen(part, prediction.feature, answer)
        change = self._last_label.change(stable) if self._stabilizer.is_decided else None
        is_due = self._gate.is_due(now_s, changed=stable.change is not None)
        return Judged(prediction, stable, ref, change, is_due)

    def _period(self, part: Frame, moment: Moment) -> str:
        """The period that it is, if it has a head of its own; else empty."""
        period = self._periods.at(part.pixels, moment.time_s) if self._of_period else ""
        return period if period in self._of_period else ""

    def _ask(self, part: Frame, feature: NDArray[np.float32], answer: teach.Answer, moment: Moment) -> None:
        """Keep the frame for its owner to name, where much would be learnt from that."""
        reason = self.asking.reason_for(answer, moment.monotonic_s) if self.asking else None
        if self.asking is None or reason is None:
            return
        from edge_agent.pipeline.shots import shot_of

        taken_s = moment.time_s - (moment.monotonic_s - part.captured_s)
        shot = shot_of(part.pixels, feature, taken_s)
        self.asking.put(
            reason,
            answer,
            shot.feature,
            moment.monotonic_s,
            time_s=shot.time_s,
            brightness=shot.brightness,
            thumbnail=shot.thumbnail,
        )


def scores(labels: Sequence[str], probabilities: NDArray[np.floating]) -> tuple[Score, ...]:
    """The most probable labels of a head, best first; equals in the order of the labels."""
    best = np.argsort(-probabilities, kind="stable")[:_TOP]
    return tuple(Score(labels[i], int(i), float(probabilities[i])) for i in best)


def votes_of(answer: teach.Answer, labels: Sequence[str]) -> tuple[Score, ...]:
    """What a head's answer votes for: its label, which need not be the most probable one; none if unknown."""
    if answer.why:
        return ()
    place = labels.index(answer.best)
    return (Score(answer.best, place, float(answer.probabilities[place])),)


def _periods(rules: Rules) -> Periods:
    return Periods(rules.periods, rules.schedule.night_below)


def _part(rules: Rules, name: str) -> Part:
    return Part(rules.regions[name] if name else None)


def cost_fits(spent_s: float, cost_s: float, period_s: float | None) -> bool:
    """Whether another classification, of `cost_s`, is done before the next frame comes."""
    return spent_s + cost_s <= (math.inf if period_s is None else period_s)

"""Which frames the owner should name: few of them, and those from which most is learnt. Pure."""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise
from typing import Literal

import numpy as np

from edge_agent.lean_dataclass import dataclass
from edge_agent.teach.examples import Feature
from edge_agent.teach.head import Answer

Reason = Literal["unknown", "unsure", "flipping"]

_RECENT = 8


@dataclass(frozen=True, slots=True)
class AskRules:
    """When a frame is asked about, and how many wait."""

    every_s: float = 300.0
    """At most one in so many seconds."""
    most: int = 12
    """Beyond it the oldest question is dropped."""
    margin: float = 0.2
    """A frame is unsure where the two best labels are nearer to each other than this."""
    flips: int = 3
    """Changes of the label within the last eight frames that count as flipping."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A frame that waits for a name."""

    number: int
    """Grows by one with each question."""
    reason: Reason
    best: str
    """The label that it resembles most."""
    feature: Feature
    time_s: float
    """Seconds since 1970."""
    brightness: float
    thumbnail: bytes


class Asking:
    """Notices frames that are worth a question, and keeps them until they are answered. Used by one thread.

    `reason_for` is to be called with each answer; where it gives a reason, `put` may follow with that frame.
    """

    def __init__(self, rules: AskRules | None = None) -> None:
        self._rules = rules or AskRules()
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._waiting: dict[int, Question] = {}
        self._asked = 0
        self._dropped = 0
        self._last_s: float | None = None

    @property
    def waiting(self) -> tuple[Question, ...]:
        """The questions, the oldest first."""
        return tuple(self._waiting.values())

    @property
    def asked(self) -> int:
        """How many questions there have been."""
        return self._asked

    @property
    def dropped(self) -> int:
        """How many of them gave way to newer ones, unanswered."""
        return self._dropped

    def reason_for(self, answer: Answer, now_s: float) -> Reason | None:
        """Why the frame of this answer, at the monotonic time `now_s`, is worth a question; None for most."""
        self._recent.append(answer.label)
        if self._last_s is not None and now_s - self._last_s < self._rules.every_s:
            return None
        return self._reason(answer)

    def put(
        self,
        reason: Reason,
        answer: Answer,
        feature: Feature,
        now_s: float,
        *,
        time_s: float,
        brightness: float,
        thumbnail: bytes = b"",
    ) -> Question:
        """Keep the frame of an answer for the owner, and ask no more for a while."""
        self._last_s = now_s
        self._asked += 1
        question = Question(self._asked, reason, answer.best, feature, time_s, brightness, thumbnail)
        self._waiting[question.number] = question
        while len(self._waiting) > self._rules.most:
            del self._waiting[next(iter(self._waiting))]
            self._dropped += 1
        return question

    def take(self, number: int) -> Question | None:
        """Remove a question that was answered or is not wanted; None where it no longer waits."""
        return self._waiting.pop(number, None)

    def _reason(self, answer: Answer) -> Reason | None:
        if answer.why == "never seen":
            return "unknown"
        if answer.why == "unsure" or _margin(answer) < self._rules.margin:
            return "unsure"
        recent = list(self._recent)
        flips = sum(one != other for one, other in pairwise(recent))
        is_back_and_forth = flips > len(Counter(recent)) - 1  # and not a thing that passes by, once
        return "flipping" if flips >= self._rules.flips and is_back_and_forth else None


def _margin(answer: Answer) -> float:
    """How much more probable the best label is than the second; 1 where there is one alone."""
    if len(answer.probabilities) < 2:
        return 1.0
    second, first = np.partition(answer.probabilities, -2)[-2:]
    return float(first - second)

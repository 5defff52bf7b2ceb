"""Learns which topics a broker does not take where it does not say so, but hangs up."""

from __future__ import annotations

from edge_agent.lean_dataclass import dataclass
from edge_agent.system.clock import Clock

_SUSPICIOUS_S = 2.0
_TIMES = 3
_FIRST_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3600.0
_CALM_S = 600.0


@dataclass(slots=True)
class _SetAside:
    until_s: float
    pause_s: float


class TopicLimit:
    """MQTT 3.1.1 has no way to refuse a topic: some brokers end the connection instead.

    When that has happened three times in a row right after the same topic, and the broker has answered
    everything else, the topic is set aside: for a minute first, for an hour at last. To see which one it is,
    the session is `careful` meanwhile: it waits for each answer. Used by the publisher's thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._unanswered: dict[str, float] = {}
        self._suspects: set[str] = set()
        self._times = 0
        self._last_s = 0.0
        self._aside: dict[str, _SetAside] = {}

    @property
    def is_careful(self) -> bool:
        """Whether to send one message at a time, and each so that the broker answers."""
        return bool(self._suspects) and self._clock.monotonic_s() - self._last_s < _CALM_S

    def allows(self, topic: str) -> bool:
        """Whether to publish on that topic, or to subscribe to it."""
        aside = self._aside.get(topic)
        return aside is None or self._clock.monotonic_s() >= aside.until_s

    def sent(self, topic: str) -> None:
        """Note what was sent."""
        self._unanswered[topic] = self._clock.monotonic_s()

    def answered(self, topic: str) -> None:
        """Note that the broker took it."""
        self._unanswered.pop(topic, None)
        self._suspects.discard(topic)
        self._aside.pop(topic, None)

    def lost(self) -> str:
        """Note that the connection was lost; returns the topic that is set aside for it, mostly none."""
        now_s = self._clock.monotonic_s()
        recent = {topic for topic, sent_s in self._unanswered.items() if now_s - sent_s <= _SUSPICIOUS_S}
        self._unanswered.clear()
        common = self._suspects & recent
        self._times = self._times + 1 if common else 1
        self._suspects = common or recent
        self._last_s = now_s
        if len(self._suspects) != 1:
            return ""
        (topic,) = self._suspects
        if self._times < _TIMES and topic not in self._aside:
            return ""
        before = self._aside.get(topic)
        pause_s = min(2 * before.pause_s, _LONGEST_PAUSE_S) if before else _FIRST_PAUSE_S
        self._aside[topic] = _SetAside(now_s + pause_s, pause_s)
        self._suspects.clear()
        return topic

"""Messages that wait to be sent: a short queue, or only the newest of each topic while the broker is away."""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import field

from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.message import Message
from edge_agent.system.clock import Clock

_MOST_TOPICS = 32  # whose newest message is kept in a lane


class Lane(enum.Enum):
    """A kind of message, in the order of sending; the value is how many may wait while connected."""

    INFO = 1
    STATE = 16
    HEALTH = 2
    REPLY = 64
    PREDICTION = 32
    IMAGE = 3
    EVENT_IMAGE_INFO = 5
    EVENT_IMAGE = 4

    @property
    def resent_after_reconnect(self) -> bool:
        """Whether the newest message is kept, and sent again after each reconnect."""
        return self in (Lane.INFO, Lane.STATE, Lane.HEALTH, Lane.EVENT_IMAGE_INFO, Lane.EVENT_IMAGE)


@dataclass(slots=True)
class _Kept:
    message: Message
    since_s: float


@dataclass(slots=True)
class _Waiting:
    queue: deque[Message] = field(default_factory=deque)
    newest: dict[str, _Kept] = field(default_factory=dict)
    """By topic: of a few, since each region has its own."""


class Mailbox:
    """Shared by the threads that publish and the one that sends; never blocks, and its size is bounded."""

    def __init__(self, clock: Clock, fresh_s: float) -> None:
        """A message older than `fresh_s` is not sent again after a reconnect; `info` always is."""
        self._clock = clock
        self._fresh_s = fresh_s
        self._lanes = {lane: _Waiting() for lane in Lane}
        self._open = False
        self._dropped = 0
        self._lock = threading.Lock()

    @property
    def dropped(self) -> int:
        """How many messages gave way to newer ones before they could be sent to a connected broker."""
        return self._dropped

    def put(self, lane: Lane, message: Message) -> None:
        """Leave a message to be sent; while the broker is away at most the newest of each topic is kept."""
        with self._lock:
            waiting = self._lanes[lane]
            if lane.resent_after_reconnect:
                waiting.newest.pop(message.topic, None)  # so that the latest comes last
                waiting.newest[message.topic] = _Kept(message, self._clock.monotonic_s())
                if len(waiting.newest) > _MOST_TOPICS:
                    del waiting.newest[next(iter(waiting.newest))]
            if not self._open:
                return
            if len(waiting.queue) >= max(lane.value, len(waiting.newest)):
                waiting.queue.popleft()
                self._dropped += 1
            waiting.queue.append(message)

    def open(self) -> None:
        """The broker is there: queue the newest message of each topic that is sent again, if it is fresh."""
        with self._lock:
            self._open = True
            for lane, waiting in self._lanes.items():
                waiting.queue.clear()
                fresh = [kept for kept in waiting.newest.values() if self._is_fresh(lane, kept)]
                waiting.queue.extend(kept.message for kept in fresh)

    def close(self) -> None:
        """The broker is away."""
        with self._lock:
            self._open = False
            for waiting in self._lanes.values():
                waiting.queue.clear()

    def take(self, lanes: Iterable[Lane]) -> Message | None:
        """The next message of those lanes, in the order given; None when nothing waits."""
        with self._lock:
            for lane in lanes:
                if queue := self._lanes[lane].queue:
                    return queue.popleft()
        return None

    def _is_fresh(self, lane: Lane, kept: _Kept) -> bool:
        return lane is Lane.INFO or self._clock.monotonic_s() - kept.since_s <= self._fresh_s

"""The latest events, kept in memory for whoever looks; a thread can wait for the next one."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import Protocol

from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import LabelChanged

_MOST_EVENTS = 100
_MOST_PICTURES = 24


@dataclass(frozen=True, slots=True)
class Event:
    """A change of the label, and a small picture of its frame where one was kept."""

    changed: LabelChanged
    thumbnail: bytes = b""
    """JPEG; empty where there is none here."""
    has_picture: bool = False
    """Whether there is one, here or on disk."""


@dataclass(frozen=True, slots=True)
class Since:
    """The events after a number."""

    events: tuple[Event, ...]
    newest: int
    """The number of the newest event, 0 before the first: what to ask for next."""
    has_gap: bool
    """Whether events after the number asked for are no longer kept."""


class Keeper(Protocol):
    """Keeps events beyond the process; see `event_folder.EventFolder`."""

    def open(self, most: int) -> list[Event]: ...
    def keep(self, event: Event) -> None: ...
    def picture(self, seq: int) -> bytes: ...
    def close(self) -> None: ...


class EventRing:
    """Keeps the latest events, oldest first. Any thread may add and read.

    Few threads may wait at a time, since a waiting one serves nobody else: the others are answered at once.
    """

    def __init__(
        self,
        most_waiting: int,
        most: int = _MOST_EVENTS,
        most_pictures: int = _MOST_PICTURES,
        keeper: Keeper | None = None,
    ) -> None:
        """Begin with what `keeper` has of earlier."""
        self._keeper = keeper
        self._events: deque[Event] = deque(keeper.open(most) if keeper else (), maxlen=most)
        self._most_pictures = most_pictures
        self._changed = threading.Condition()
        self._waiting = 0
        self._most_waiting = most_waiting
        self._dropped = 0  # the number of the newest event that is no longer kept
        self._closed = False

    def add(self, event: Event) -> None:
        """Keep an event, let go of the oldest pictures, and wake those who wait."""
        event = replace(event, has_picture=bool(event.thumbnail))
        if self._keeper is not None:
            self._keeper.keep(event)
        with self._changed:
            if len(self._events) == self._events.maxlen:
                self._dropped = self._events[0].changed.seq
            self._events.append(event)
            if event.thumbnail:
                self._let_pictures_go()
            self._changed.notify_all()

    def thumbnail(self, seq: int) -> bytes:
        """The picture of the event `seq`; empty where there is none."""
        with self._changed:
            event = next((event for event in self._events if event.changed.seq == seq), None)
        if event is None or event.thumbnail or self._keeper is None:
            return event.thumbnail if event else b""
        return self._keeper.picture(seq)

    def since(self, seq: int, wait_s: float = 0.0) -> Since:
        """The events with a number above `seq`; waits for the first so long, where a thread may wait."""
        with self._changed:
            if wait_s > 0 and not self._newer(seq) and self._waiting < self._most_waiting:
                self._waiting += 1
                try:
                    self._changed.wait_for(lambda: self._closed or self._newer(seq), wait_s)
                finally:
                    self._waiting -= 1
            newest = self._events[-1].changed.seq if self._events else 0
            return Since(self._newer(seq), newest, has_gap=seq < self._dropped)

    def close(self) -> None:
        """Wake those who wait; nobody waits any more, and nothing more is kept."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._keeper is not None:
            self._keeper.close()

    def _let_pictures_go(self) -> None:
        illustrated = [place for place, event in enumerate(self._events) if event.thumbnail]
        for place in illustrated[: -self._most_pictures]:
            is_kept = self._keeper is not None
            self._events[place] = replace(self._events[place], thumbnail=b"", has_picture=is_kept)

    def _newer(self, seq: int) -> tuple[Event, ...]:
        return tuple(event for event in self._events if event.changed.seq > seq)

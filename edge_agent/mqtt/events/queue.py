"""The queue of events that the publisher sends from: its protocol, and the simplest one, in memory."""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

from edge_agent.mqtt.contract.payloads import LabelChanged, OutboxPlace


class EventQueue(Protocol):
    """Events in the order of their `seq`; the pipeline calls `put`, the publisher everything else."""

    @property
    def place(self) -> OutboxPlace: ...

    @property
    def dropped(self) -> int:
        """Events given up because there were too many."""
        ...

    def __len__(self) -> int: ...

    def put(self, event: LabelChanged) -> None:
        """Keep an event until it is removed. Its `seq` must be above those of all events before it."""
        ...

    def after(self, seq: int) -> LabelChanged | None:
        """The oldest event whose `seq` is greater; None when there is none."""
        ...

    def remove(self, seq: int) -> None:
        """The broker has that event, or will never take it: forget it."""
        ...

    def tick(self) -> None:
        """Do what is due; called about once a second."""
        ...


class MemoryEvents:
    """Events that last as long as the process."""

    place: OutboxPlace = "memory"

    def __init__(self, max_rows: int) -> None:
        self.dropped = 0
        self._max_rows = max_rows
        self._events: deque[LabelChanged] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: LabelChanged) -> None:
        with self._lock:
            if len(self._events) >= self._max_rows:
                self._events.popleft()
                self.dropped += 1
            self._events.append(event)

    def after(self, seq: int) -> LabelChanged | None:
        with self._lock:
            return next((event for event in self._events if event.seq > seq), None)

    def remove(self, seq: int) -> None:
        with self._lock:
            self._events = deque(event for event in self._events if event.seq != seq)

    def tick(self) -> None:
        """Nothing is ever due."""

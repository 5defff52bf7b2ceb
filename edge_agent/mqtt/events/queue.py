"""The queue that the publisher sends events from, as it sees it."""

from __future__ import annotations

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
        """Return the oldest event whose `seq` is greater; None when there is none."""
        ...

    def remove(self, seq: int) -> None:
        """Forget an event: the broker has it, or will never take it."""
        ...

    def tick(self) -> None:
        """Do what is due; called about once a second."""
        ...

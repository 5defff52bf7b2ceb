"""The event queue in memory."""

from __future__ import annotations

from edge_agent.mqtt.events.queue import MemoryEvents
from tests.mqtt.samples import changed


def test_events_come_in_order_until_they_are_removed() -> None:
    events = MemoryEvents(10)
    for seq in (3, 5, 9):
        events.put(changed(seq))
    assert events.after(-1) == changed(3)
    assert events.after(3) == changed(5)
    assert events.after(9) is None
    events.remove(3)
    assert events.after(-1) == changed(5)
    assert len(events) == 2


def test_a_full_queue_drops_its_oldest_and_counts_it() -> None:
    events = MemoryEvents(2)
    for seq in range(5):
        events.put(changed(seq))
    assert (len(events), events.dropped) == (2, 3)
    assert events.after(-1) == changed(3)

"""The ring of events."""

from __future__ import annotations

import threading

from edge_agent.web.event_ring import Event, EventRing
from tests.mqtt import samples


def numbers(ring: EventRing, since: int = 0) -> list[int]:
    return [event.changed.seq for event in ring.since(since).events]


def test_it_keeps_the_latest_and_says_what_it_has_let_go() -> None:
    ring = EventRing(1, most=3)
    for seq in (2, 4, 6, 8, 10):
        ring.add(Event(samples.changed(seq)))
    assert numbers(ring) == [6, 8, 10]
    assert numbers(ring, 8) == [10]
    assert ring.since(3).has_gap
    assert not ring.since(4).has_gap
    assert ring.since(10).newest == 10


def test_it_keeps_few_pictures() -> None:
    ring = EventRing(1, most_pictures=2)
    for seq in (1, 2, 3):
        ring.add(Event(samples.changed(seq), b"picture %d" % seq))
    assert [ring.thumbnail(seq) for seq in (1, 2, 3, 4)] == [b"", b"picture 2", b"picture 3", b""]


def test_only_so_many_wait_and_closing_sends_them_away() -> None:
    ring = EventRing(1)
    waiting = threading.Thread(target=lambda: ring.since(0, 60.0))
    waiting.start()
    while not ring._waiting:
        pass
    assert numbers(ring) == []
    assert ring.since(0, 60.0).events == ()  # at once
    ring.close()
    waiting.join(10)
    assert not waiting.is_alive()

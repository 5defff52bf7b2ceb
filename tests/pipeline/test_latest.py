"""The slot between two threads: the newest frame wins, nothing queues, both sides can be woken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.frame import Frame
from edge_agent.pipeline.latest import LatestFrame
from tests.sources.helpers import frame

InThread = Callable[[Callable[[], None]], threading.Thread]
LONG_S = 30.0


def test_the_newest_frame_is_taken_and_the_older_ones_count_as_dropped() -> None:
    slot = LatestFrame()
    for number in range(1, 5):
        slot.put(frame(number))
    taken = slot.take(0)
    assert taken is not None
    assert taken.id == 4
    assert slot.dropped == 3
    assert slot.take(0) is None


def test_a_waiting_taker_gets_the_frame_that_comes(in_thread: InThread) -> None:
    slot = LatestFrame()
    taken: list[Frame | None] = []
    thread = in_thread(lambda: taken.append(slot.take(LONG_S)))
    slot.put(frame(7))
    thread.join(10)
    assert [got.id for got in taken if got] == [7]


def test_a_frame_that_must_not_be_lost_waits_until_the_one_before_was_taken(in_thread: InThread) -> None:
    slot = LatestFrame()
    slot.put(frame(1))
    assert not slot.put_when_free(frame(2), 0)
    offered: list[bool] = []
    thread = in_thread(lambda: offered.append(slot.put_when_free(frame(2), LONG_S)))
    first = slot.take(LONG_S)
    thread.join(10)
    second = slot.take(0)
    assert first is not None
    assert second is not None
    assert (first.id, second.id, offered, slot.dropped) == (1, 2, [True], 0)


def test_closing_wakes_a_waiting_taker(in_thread: InThread) -> None:
    slot = LatestFrame()
    taken: list[Frame | None] = []
    thread = in_thread(lambda: taken.append(slot.take(LONG_S)))
    slot.close()
    thread.join(10)
    assert taken == [None]


def test_closing_wakes_a_waiting_giver(in_thread: InThread) -> None:
    slot = LatestFrame()
    slot.put(frame(1))
    offered: list[bool] = []
    thread = in_thread(lambda: offered.append(slot.put_when_free(frame(2), LONG_S)))
    slot.close()
    thread.join(10)
    assert offered == [False]


def test_the_last_frame_can_still_be_taken_after_closing() -> None:
    slot = LatestFrame()
    slot.put(frame(1))
    slot.close()
    assert not slot.closed
    assert slot.take(0) is not None
    assert slot.closed
    slot.put(frame(2))
    assert slot.take(0) is None


def test_discarding_drops_the_waiting_frame_and_says_whether_there_was_one() -> None:
    slot = LatestFrame()
    assert not slot.discard()
    slot.put(frame(1))
    assert slot.discard()
    assert slot.take(0) is None
    assert slot.dropped == 1


class SlotMachine(RuleBasedStateMachine):
    """Any order of calls: each frame put is taken once, dropped once, or still waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = LatestFrame()
        self.accepted: list[int] = []
        self.taken: list[int] = []
        self.number = 0
        self.waiting: int | None = None
        self.is_closed = False

    def next_frame(self) -> Frame:
        self.number += 1
        return frame(self.number)

    @rule()
    def put(self) -> None:
        self.slot.put(self.next_frame())
        self.accepted.append(self.number)
        if not self.is_closed:
            self.waiting = self.number

    @rule()
    def put_when_free(self) -> None:
        accepted = self.slot.put_when_free(self.next_frame(), 0)
        assert accepted == (self.waiting is None and not self.is_closed)
        if accepted:
            self.accepted.append(self.number)
            self.waiting = self.number

    @rule()
    def take(self) -> None:
        got = self.slot.take(0)
        assert (got.id if got else None) == self.waiting
        if got:
            self.taken.append(got.id)
        self.waiting = None

    @rule()
    def discard(self) -> None:
        assert self.slot.discard() == (self.waiting is not None)
        self.waiting = None

    @rule()
    def close(self) -> None:
        self.slot.close()
        self.is_closed = True

    @invariant()
    def each_frame_is_somewhere(self) -> None:
        assert len(self.accepted) == len(self.taken) + self.slot.dropped + (self.waiting is not None)

    @invariant()
    def frames_are_taken_in_order_and_once(self) -> None:
        assert self.taken == sorted(set(self.taken))

    @invariant()
    def it_is_closed_when_nothing_more_will_come(self) -> None:
        assert self.slot.closed == (self.is_closed and self.waiting is None)


SlotMachine.TestCase.settings = settings(max_examples=60, deadline=None)
test_any_order_of_calls = SlotMachine.TestCase


def numbers_taken(slot: LatestFrame) -> Iterator[int]:
    """The numbers of the frames that are taken until the giver closes the slot."""
    while not slot.closed:
        if (got := slot.take(LONG_S)) is not None:
            yield got.id


def test_two_threads_lose_nothing_when_the_giver_waits(in_thread: InThread) -> None:
    slot = LatestFrame()

    def give() -> None:
        for number in range(500):
            assert slot.put_when_free(frame(number), LONG_S)
        slot.close()

    in_thread(give)
    assert list(numbers_taken(slot)) == list(range(500))


def test_two_threads_account_for_every_frame_when_the_giver_does_not_wait(in_thread: InThread) -> None:
    slot = LatestFrame()

    def give() -> None:
        for number in range(5000):
            slot.put(frame(number))
        slot.close()

    in_thread(give)
    taken = list(numbers_taken(slot))
    assert len(taken) + slot.dropped == 5000
    assert taken == sorted(taken)
    assert taken[-1] == 4999

"""How large a message may be for a broker that only hangs up."""

from __future__ import annotations

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.wire.size_limit import SizeLimit
from tests.clock import FakeClock

LARGE = Message("image", b"x" * 50_000)
SMALL = Message("state", b"x" * 500)


def hang_up(limit: SizeLimit, clock: FakeClock, message: Message, times: int, after_s: float = 0.1) -> None:
    for _ in range(times):
        limit.sent(message)
        clock.advance(after_s)
        limit.lost()


def test_a_size_that_ends_the_connection_three_times_is_not_sent_again() -> None:
    clock = FakeClock()
    limit = SizeLimit(clock)
    hang_up(limit, clock, LARGE, 2)
    assert limit.allows(LARGE)
    hang_up(limit, clock, LARGE, 1)
    assert not limit.allows(LARGE)
    assert limit.allows(SMALL)
    assert limit.allows(Message("image", b"x" * 49_999))


def test_a_connection_lost_for_another_reason_clears_it() -> None:
    clock = FakeClock()
    limit = SizeLimit(clock)
    hang_up(limit, clock, LARGE, 2)
    limit.lost()
    hang_up(limit, clock, LARGE, 2)
    assert limit.allows(LARGE)


def test_neither_small_nor_old_messages_are_blamed() -> None:
    clock = FakeClock()
    limit = SizeLimit(clock)
    hang_up(limit, clock, SMALL, 10)
    hang_up(limit, clock, LARGE, 10, after_s=5)
    assert limit.allows(SMALL)
    assert limit.allows(LARGE)


def test_after_an_hour_it_is_tried_again() -> None:
    clock = FakeClock()
    limit = SizeLimit(clock)
    hang_up(limit, clock, LARGE, 3)
    clock.advance(3599)
    assert not limit.allows(LARGE)
    clock.advance(2)
    assert limit.allows(LARGE)

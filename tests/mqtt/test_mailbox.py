"""The mailbox: bounded, and never stale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.contract.message import Message
from edge_agent.mqtt.mailbox import Lane, Mailbox
from tests.clock import FakeClock

ALL = tuple(Lane)


def message(number: int) -> Message:
    return Message("t", str(number).encode())


def drain(mailbox: Mailbox) -> list[bytes]:
    taken: list[bytes] = []
    while (waiting := mailbox.take(ALL)) is not None:
        taken.append(waiting.payload)
    return taken


def test_while_the_broker_is_away_only_the_newest_of_each_is_kept() -> None:
    mailbox = Mailbox(FakeClock(), fresh_s=10)
    for number in range(5):
        mailbox.put(Lane.STATE, message(number))
        mailbox.put(Lane.HEALTH, message(10 + number))
    assert drain(mailbox) == []
    mailbox.open()
    assert drain(mailbox) == [b"4", b"14"]


def test_of_each_topic_the_newest_is_kept_and_of_a_bounded_number() -> None:
    mailbox = Mailbox(FakeClock(), fresh_s=10)
    for number in range(100):
        mailbox.put(Lane.STATE, Message(f"region/{number}/state", b"old"))
        mailbox.put(Lane.STATE, Message(f"region/{number}/state", str(number).encode()))
    mailbox.open()
    assert drain(mailbox) == [str(number).encode() for number in range(68, 100)]


def test_a_stale_state_is_not_sent_after_a_reconnect_but_info_is() -> None:
    clock = FakeClock()
    mailbox = Mailbox(clock, fresh_s=10)
    mailbox.put(Lane.STATE, message(1))
    mailbox.put(Lane.INFO, message(2))
    clock.advance(10.1)
    mailbox.open()
    assert drain(mailbox) == [b"2"]


def test_what_was_sent_before_is_sent_again_on_the_next_connection() -> None:
    mailbox = Mailbox(FakeClock(), fresh_s=10)
    mailbox.open()
    mailbox.put(Lane.STATE, message(1))
    assert drain(mailbox) == [b"1"]
    mailbox.close()
    mailbox.open()
    assert drain(mailbox) == [b"1"]


def test_answers_and_pictures_do_not_outlive_the_connection() -> None:
    mailbox = Mailbox(FakeClock(), fresh_s=10)
    mailbox.open()
    for lane in (Lane.REPLY, Lane.PREDICTION, Lane.IMAGE):
        mailbox.put(lane, message(1))
    mailbox.close()
    mailbox.put(Lane.REPLY, message(2))
    mailbox.open()
    assert drain(mailbox) == []


def test_every_state_is_sent_in_order_while_connected() -> None:
    mailbox = Mailbox(FakeClock(), fresh_s=10)
    mailbox.open()
    for number in range(Lane.STATE.value):
        mailbox.put(Lane.STATE, message(number))
    assert drain(mailbox) == [str(number).encode() for number in range(Lane.STATE.value)]
    assert mailbox.dropped == 0


@given(st.sampled_from(list(Lane)), st.integers(0, 200))
def test_a_slow_broker_costs_the_oldest_messages_and_they_are_counted(lane: Lane, count: int) -> None:
    mailbox = Mailbox(FakeClock(), fresh_s=10)
    mailbox.open()
    for number in range(count):
        mailbox.put(lane, message(number))
    kept = drain(mailbox)
    assert kept == [str(number).encode() for number in range(count)][-lane.value :]
    assert mailbox.dropped == count - len(kept)

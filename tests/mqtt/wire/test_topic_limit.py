"""Which topics a broker does not take that only hangs up."""

from __future__ import annotations

import pytest

from edge_agent.mqtt.wire.topic_limit import TopicLimit
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limit(clock: FakeClock) -> TopicLimit:
    return TopicLimit(clock)


def hang_up(limit: TopicLimit, *topics: str) -> str:
    for topic in topics:
        limit.sent(topic)
    return limit.lost()


def test_the_topic_that_is_left_alone_with_three_hang_ups_is_set_aside(limit: TopicLimit) -> None:
    assert hang_up(limit, "info", "state", "health") == ""
    assert limit.is_careful
    limit.sent("info")
    limit.answered("info")
    assert hang_up(limit, "state") == ""
    assert hang_up(limit, "state") == "state"
    assert not limit.allows("state")
    assert limit.allows("health")
    assert not limit.is_careful


def test_answered_topics_are_never_to_blame(limit: TopicLimit) -> None:
    for _ in range(10):
        limit.sent("state")
        limit.answered("state")
        assert limit.lost() == ""
    assert limit.allows("state")
    assert not limit.is_careful


def test_a_loss_long_after_a_message_has_other_reasons(limit: TopicLimit, clock: FakeClock) -> None:
    for _ in range(10):
        limit.sent("state")
        clock.advance(3)
        assert limit.lost() == ""


def test_a_topic_that_is_taken_in_between_is_not_to_blame(limit: TopicLimit) -> None:
    for _ in range(5):
        hang_up(limit, "state")
        limit.sent("state")
        limit.answered("state")
    assert limit.allows("state")


def test_it_is_tried_again_each_time_after_a_longer_pause(limit: TopicLimit, clock: FakeClock) -> None:
    for _ in range(3):
        hang_up(limit, "state")
    for pause_s in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        clock.advance(pause_s - 1)
        assert not limit.allows("state")
        clock.advance(1)
        assert limit.allows("state")
        assert hang_up(limit, "state") == "state"  # once is enough now
    clock.advance(3600)
    limit.sent("state")
    limit.answered("state")
    assert hang_up(limit, "state") == ""


def test_care_ends_after_a_while_without_hang_ups(limit: TopicLimit, clock: FakeClock) -> None:
    hang_up(limit, "a", "b")
    assert limit.is_careful
    clock.advance(600)
    assert not limit.is_careful

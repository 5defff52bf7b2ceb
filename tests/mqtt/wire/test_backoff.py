"""Pauses between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.wire.backoff import Backoff


def test_the_longest_pauses_double_up_to_the_limit() -> None:
    backoff = Backoff(1, 10, lambda: 1.0)
    assert [backoff.next_s() for _ in range(5)] == [2, 4, 8, 10, 10]


def test_pauses_are_short_again_after_a_success() -> None:
    backoff = Backoff(1, 10, lambda: 1.0)
    backoff.next_s()
    backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 2


@given(st.floats(0.1, 60), st.floats(1, 3600), st.lists(st.floats(0, 1, exclude_max=True), max_size=30))
def test_no_pause_is_shorter_than_the_floor_or_longer_than_the_limit(
    min_s: float, max_s: float, draws: list[float]
) -> None:
    numbers = iter(draws)
    backoff = Backoff(min_s, max_s, lambda: next(numbers))
    for _ in draws:
        assert min(min_s, max_s) <= backoff.next_s() <= max_s

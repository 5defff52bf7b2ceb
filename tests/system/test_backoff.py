"""Pauses between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.system.backoff import Backoff


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


def test_without_a_random_part_the_pauses_themselves_double_up_to_the_longest() -> None:
    backoff = Backoff(1, 60)
    assert [backoff.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.next_s() == 1


@given(failures=st.integers(1, 5000), min_s=st.floats(0.1, 60), max_s=st.floats(1, 3600))
def test_a_pause_without_a_random_part_is_never_shorter_than_the_one_before(
    failures: int, min_s: float, max_s: float
) -> None:
    backoff = Backoff(min_s, max_s)
    pauses_s = [backoff.next_s() for _ in range(failures)]
    assert all(min(min_s, max_s) <= pause_s <= max_s for pause_s in pauses_s)
    assert pauses_s == sorted(pauses_s)

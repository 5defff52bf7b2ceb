"""Pauses between attempts."""

from __future__ import annotations

import itertools

import pytest
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


def test_every_one_of_several_places_is_tried_before_the_pauses_grow() -> None:
    backoff = Backoff(1, 10, lambda: 1.0, each=3)
    assert [backoff.next_s() for _ in range(10)] == [2, 2, 2, 4, 4, 4, 8, 8, 8, 10]


def test_the_first_attempts_of_many_are_spread_evenly_over_the_floor() -> None:
    draws = [device / 1000 for device in range(1000)]
    pauses_s = sorted(Backoff(5, 120, lambda draw=draw: draw).next_s() for draw in draws)  # type: ignore[misc]
    assert pauses_s[0] == 5
    assert pauses_s[-1] == pytest.approx(10, rel=0.01)
    assert max(later - earlier for earlier, later in itertools.pairwise(pauses_s)) < 0.01

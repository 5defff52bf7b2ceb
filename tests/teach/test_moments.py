"""Moments: exact, whatever the numbers, the order and the portions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.errors import TeachError
from edge_agent.teach.moments import MOST_ADDED, UNIT, Moment, joined, moment_of, rooted
from tests.teach.worlds import World

FEATURES = st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3).map(
    lambda bits: np.nan_to_num(np.array(bits, np.uint16).view(np.float16))
)


@settings(max_examples=50)
@given(st.lists(FEATURES, min_size=1, max_size=10))
def test_sums_are_those_of_arithmetic_without_rounding(features: list[NDArray[np.float16]]) -> None:
    moment = moment_of(features[0])
    for feature in features[1:]:
        moment = moment + moment_of(feature)
    exact = [[Fraction(float(number)) for number in rooted(feature)] for feature in features]
    assert [Fraction(float(each)) for each in moment.total] == [
        sum(column) for column in zip(*exact, strict=True)
    ]
    assert Fraction(moment.squares) * Fraction(UNIT) ** 2 == sum(x * x for row in exact for x in row)
    assert moment.count == len(features)


@given(FEATURES)
def test_roots_are_those_of_arithmetic_and_keep_their_sign(feature: NDArray[np.float16]) -> None:
    root = rooted(feature)
    assert root.dtype == np.float16
    assert root.astype(float) == pytest.approx(
        np.sign(feature) * np.sqrt(np.abs(feature.astype(float))), rel=1e-3
    )


def test_the_largest_sum_is_still_exact() -> None:
    largest, smallest = Fraction(65504), Fraction(UNIT)
    moment = Moment(1, np.array([float(largest)]), 0)
    doubled = moment
    while doubled.count < MOST_ADDED // 2:
        doubled = doubled + doubled
    nearly = Moment(MOST_ADDED - 1, doubled.total * 2 - moment.total, 0)
    full = nearly + Moment(1, np.array([float(smallest)]), 0)
    assert Fraction(float(full.total[0])) == (MOST_ADDED - 1) * largest + smallest
    with pytest.raises(TeachError, match="more than 8192 examples"):
        full + moment


def test_moments_of_two_networks_do_not_add_up() -> None:
    with pytest.raises(TeachError, match="do not add up"):
        moment_of(np.ones(2, np.float16)) + moment_of(np.ones(3, np.float16))


def test_distances_follow_from_the_moments() -> None:
    features = [World(features=64).example("a", burst, 0).feature for burst in range(5)]
    centre = np.linspace(0, 1, 64)
    (moment,) = joined({"a": moment_of(feature)} for feature in features).values()
    squares = [np.sum((rooted(feature).astype(np.float64) - centre) ** 2) for feature in features]
    assert moment.distance_from(centre) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-9)

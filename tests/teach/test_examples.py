"""Examples: what is taken, what is skipped, what gives way, and what nothing depends on."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import TeachError
from edge_agent.teach.examples import (
    BURST_GAP_S,
    LONGEST_LABEL,
    MOST_THUMBNAIL_BYTES,
    Example,
    Examples,
    Limits,
    fingerprint,
    grouped,
    in_order,
)
from tests.teach.worlds import World

WORLD = World(features=32, rank=16)
ONE = WORLD.example("open", 0, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": ""}, "cannot be a label"),
        ({"label": "a" * (LONGEST_LABEL + 1)}, "cannot be a label"),
        ({"label": " open"}, "cannot be a label"),
        ({"label": "op\x1ben"}, r"'op\\\\x1ben' cannot be a label"),
        ({"label": "half \ud800"}, "cannot be a label"),
        ({"label": "Unknown"}, "cannot be taught"),
        ({"feature": ONE.feature.astype(np.float32)}, "FP16"),
        ({"feature": ONE.feature[None]}, "FP16"),
        ({"feature": ONE.feature[:0]}, "FP16"),
        ({"feature": np.zeros(5000, np.float16)}, "1 to 4096"),
        ({"feature": np.zeros(32, np.float16)}, "nothing but zeros"),
        ({"feature": np.full(32, np.nan, np.float16)}, "not finite"),
        ({"time_s": float("nan")}, "out of range"),
        ({"brightness": 256.0}, "out of range"),
        ({"burst": -1}, "out of range"),
        ({"thumbnail": bytes(MOST_THUMBNAIL_BYTES + 1)}, "make it smaller"),
    ],
)
def test_what_is_no_example_is_refused_with_the_reason(change: dict[str, object], said: str) -> None:
    with pytest.raises(TeachError, match=said):
        replace(ONE, **change)  # type: ignore[arg-type]


def test_a_key_tells_any_two_examples_apart() -> None:
    variants = [
        ONE,
        replace(ONE, label="opem"),
        replace(ONE, feature=-ONE.feature),
        replace(ONE, time_s=ONE.time_s + 1e-3),
        replace(ONE, brightness=1.0),
    ]
    assert len({each.key for each in variants}) == len(variants)
    assert replace(ONE, thumbnail=b"jpeg", burst=7).key == ONE.key


def test_a_near_duplicate_is_skipped_only_within_its_label() -> None:
    examples = Examples(examples=[ONE])
    near = ONE.feature * np.float16(1.001)
    assert examples.add(replace(ONE, feature=near, time_s=5.0)) == ("duplicate", ())
    assert examples.add(replace(ONE, feature=near, label="closed")) == ("added", ())
    assert examples.counts() == {"open": 1, "closed": 1}


def test_in_a_full_label_the_older_of_the_two_most_alike_gives_way() -> None:
    first, second, third = (WORLD.example("open", burst, 0) for burst in range(3))
    like_second = replace(second, feature=(second.feature + np.float16(0.3) * first.feature), time_s=9.0)
    examples = Examples(Limits(per_label=3), [first, second, third])
    assert examples.add(like_second) == ("replaced", (second.key,))
    assert [each.key for each in examples] == [first.key, third.key, like_second.key]


def test_limits_hold_for_labels_and_in_all() -> None:
    examples = Examples(Limits(labels=2, per_label=3, in_all=4))
    for label in "ab":
        for burst in range(2):
            examples.add(WORLD.example(label, burst, 0))
    with pytest.raises(TeachError, match="there are 4 examples, and room for no more"):
        examples.add(WORLD.example("a", 2, 0))
    with pytest.raises(TeachError, match="there are 2 labels, and room for no more"):
        examples.add(WORLD.example("c", 0, 0))
    with pytest.raises(TeachError, match="more than the limits allow"):
        Examples(Limits(in_all=3), examples)
    with pytest.raises(TeachError, match="more than the limits allow"):
        Examples(Limits(per_label=1), examples)


def test_features_of_two_networks_do_not_mix() -> None:
    examples = Examples(examples=[ONE])
    with pytest.raises(TeachError, match="has 16 features, the others have 32"):
        examples.add(World(features=16).example("open", 0, 1))


def test_an_example_can_be_taken_back() -> None:
    examples = Examples(examples=[ONE])
    assert ONE.key in examples
    assert examples.remove(ONE.key) is ONE
    assert examples.remove(ONE.key) is None
    assert len(examples) == 0


def test_a_pause_begins_another_burst() -> None:
    times = [1000.0, 1000.0 + BURST_GAP_S, 1001.0 + 2 * BURST_GAP_S, 0.0]
    assert [each.burst for each in grouped(replace(ONE, time_s=time_s) for time_s in times)] == [1, 1, 2, 0]
    assert grouped([]) == []


@given(st.randoms(use_true_random=False))
def test_the_order_and_the_fingerprint_do_not_depend_on_how_examples_came(chance: random.Random) -> None:
    examples = WORLD.examples(range(3), 2)
    shuffled = chance.sample(examples, len(examples))
    assert in_order(shuffled) == in_order(examples)
    assert fingerprint(shuffled) == fingerprint(examples)
    assert fingerprint(shuffled[1:]) != fingerprint(examples)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 2), st.booleans()), max_size=40
    )
)
def test_whatever_is_added_and_removed_the_bounds_hold(moves: list[tuple[str, int, int, bool]]) -> None:
    limits = Limits(labels=2, per_label=4, in_all=6)
    examples = Examples(limits)
    for label, burst, number, is_taken_back in moves:
        example: Example = WORLD.example(label, burst, number)
        if is_taken_back:
            examples.remove(example.key)
            continue
        try:
            verdict, gone = examples.add(example)
        except TeachError:
            continue
        assert verdict == "duplicate" or example.key in examples
        assert not any(key in examples for key in gone)
        counts = examples.counts()
        assert len(counts) <= 2
        assert max(counts.values()) <= 4
        assert len(examples) <= 6

"""Merging: joined heads are what teaching all examples to one head would have given, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import TeachError
from edge_agent.teach.examples import MOST_LABELS
from edge_agent.teach.fitting import fit
from edge_agent.teach.head import Head, Taught
from edge_agent.teach.merge import merge
from tests.teach.test_fitting import SETS, SMALL, everything, frames_of, made
from tests.teach.worlds import World, backbone

CAMERAS = st.lists(SETS, min_size=1, max_size=4)


def taught(keys: list[tuple[str, int, int]], frames: int = 0) -> Taught:
    return fit(made(keys), backbone(64), frames_of(SMALL, frames) if frames else None).head.taught


@settings(max_examples=30)
@given(CAMERAS, st.integers(0, 3), st.permutations(range(4)))
def test_merging_equals_teaching_together(
    cameras: list[list[tuple[str, int, int]]], frames: int, order: list[int]
) -> None:
    heads = [taught(keys, frames) for keys in cameras]
    joined = merge([heads[place] for place in order if place < len(heads)])
    # The same example taught to two cameras counts twice, as it does where it is taught twice to one.
    every = [key for keys in cameras for key in keys]
    together = fit(made(every), backbone(64)).head.taught
    background = heads[0].frames
    for _ in heads[1:]:
        background = background + heads[0].frames if background and heads[0].frames else None
    expected = replace(together, layer=None, fingerprint="", frames=background)
    assert everything(Head(joined)) == everything(Head(expected))


@settings(max_examples=20)
@given(SETS, SETS, SETS)
def test_heads_may_be_merged_in_any_portions(
    first: list[tuple[str, int, int]], second: list[tuple[str, int, int]], third: list[tuple[str, int, int]]
) -> None:
    one, two, three = taught(first), taught(second), taught(third)
    assert everything(Head(merge([merge([one, two]), three]))) == everything(
        Head(merge([one, merge([three, two])]))
    )


def test_a_thing_taught_to_one_camera_is_known_to_the_joined_head() -> None:
    world = World(features=64)
    heads = [
        fit(world.examples(range(3), 2, labels=labels), backbone(64)).head.taught
        for labels in (["a", "b"], ["b", "c"])
    ]
    joined = Head(merge(heads))
    assert joined.labels == ("a", "b", "c")
    assert [joined.answer(world.example(label, 50, 0).feature).best for label in "abc"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(backbone(64), sha256="cd" * 32), "different models"),
        (replace(backbone(64), arithmetic="native-fp32"), "different models"),
    ],
)
def test_heads_of_another_network_are_refused(other: object, said: str) -> None:
    one = taught([("a", 0, 0)])
    with pytest.raises(TeachError, match=said):
        merge([one, replace(one, backbone=other)])  # type: ignore[arg-type]


def test_too_many_labels_and_too_few_heads_are_refused() -> None:
    one = taught([("a", 0, 0)])
    moment = one.classes["a"]
    many = replace(one, classes={f"label {number}": moment for number in range(MOST_LABELS)})
    with pytest.raises(TeachError, match="65 labels"):
        merge([one, many])
    with pytest.raises(TeachError, match="no heads"):
        merge([])
